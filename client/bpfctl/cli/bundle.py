# SPDX-License-Identifier: Apache-2.0
"""`bpfctl bundle`: the daemon as one file for devices on which nothing is installed."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.lazy import Entry, LazyGroup

if TYPE_CHECKING:
    from bpfctl.bundle import Bundle


@click.group(
    cls=LazyGroup,
    entries={
        "build": Entry("bundle", "Put a bundle together for an architecture.", "build"),
        "list": Entry("bundle", "Bundles that were built here.", "list_bundles"),
        "show": Entry("bundle", "What is in a bundle, where from, and the licences.", "show"),
    },
)
def command() -> None:
    """The daemon with all it needs, as one file for devices that have a shell, tar and gzip."""


@click.command()
@click.option("--arch", required=True, help="Debian's word: amd64, arm64, armhf, riscv64.")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where it goes [tar: it stays in the cache; deb: bpfd_VERSION_ARCH.deb, here].",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["tar", "deb"]),
    default="tar",
    show_default=True,
    help="deb: a Debian package with a systemd service.",
)
@click.option("--refresh", is_flag=True, help="Look for newer Debian packages first.")
@common_options(output=False)
@pass_invocation
def build(
    invocation: Invocation, arch: str, out: Path | None, kind: str, refresh: bool
) -> None:
    """Put a bundle together, from Debian's packages and wheels of that architecture.

    Nothing of the architecture is run for that, and nothing is installed. The same inputs
    give the same bytes; a bundle that was built before comes from the cache.
    """
    from bpfctl import bundle
    from bpfctl.bundle import deb
    from bpfctl.cli.progress import shown

    with shown() as progress:
        made = bundle.build(arch, progress=progress, refresh=refresh)
    path = made.path
    if kind == "deb":
        path = out or Path(deb.name(made.version, arch))
        deb.build(made.path, path)
    elif out is not None:
        path = Path(shutil.copyfile(made.path, out))
    data = path.read_bytes()
    click.echo(f"{path}: {len(data) / 1e6:.1f} MB, sha256 {hashlib.sha256(data).hexdigest()}")


@click.command("list")
@common_options()
@pass_invocation
def list_bundles(invocation: Invocation) -> None:
    """Bundles that were built here, those used last first."""
    from bpfctl import bundle

    invocation.output.rows(
        map(_row, bundle.built()), ["arch", "version", "size", "sha256", "path"]
    )


def _row(made: Bundle) -> dict[str, Any]:
    return {
        "arch": made.arch,
        "version": made.version,
        "size": made.size,
        "sha256": made.sha256,
        "path": str(made.path),
    }


@click.command()
@click.argument("subject", metavar="ARCH|FILE")
@common_options()
@pass_invocation
def show(invocation: Invocation, subject: str) -> None:
    """What is in a bundle: that of ARCH which was used last, or the one in FILE."""
    from bpfctl import bundle
    from bpfctl.errors import NotFound

    path = next((each.path for each in bundle.built() if each.arch == subject), Path(subject))
    if not path.exists():
        raise NotFound("bundle", subject, hint="`bpfctl bundle build --arch` makes one")
    manifest = bundle.show(path)
    if invocation.format != "table":
        invocation.output.record(manifest)
        return
    components, files = manifest.pop("components"), manifest.pop("files")
    invocation.output.record({**manifest, "files": len(files), "path": str(path)})
    click.echo()
    invocation.output.rows(components, ["name", "version", "file", "licenses"])
