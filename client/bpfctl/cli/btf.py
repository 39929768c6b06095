# SPDX-License-Identifier: Apache-2.0
"""`bpfctl btf`: types; and those of kernels that carry none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.lazy import Entry, LazyGroup

if TYPE_CHECKING:
    from bpfctl import kernelbtf


@click.group(
    cls=LazyGroup,
    entries={
        "dump": Entry("btf_dump", "Types of a kernel, program, map or file, as C or rows."),
        "fetch": Entry("btf", "Get BTF of a target's kernel from its distribution.", "fetch"),
        "add": Entry("btf", "Take BTF out of a file: an image, a vmlinux, BTFHub.", "add"),
        "list": Entry("btf", "Kernels whose BTF is kept here.", "list_kernels"),
        "remove": Entry("btf", "Forget the BTF of a kernel.", "remove"),
    },
)
def command() -> None:
    """Types of kernels and programs; and BTF of kernels that were built without.

    What is kept of the latter, by kernel build, is used by itself: a target's kernel is known
    by its build id, or its release and version, and with each object goes what that object
    needs of it.
    """


def build_options(function: Any) -> Any:
    """--release, --version and --arch."""
    for option in (
        click.option("--arch", metavar="MACHINE", help="As `uname -m` of the kernel says."),
        click.option("--version", metavar="TEXT", help="As `uname -v` of the kernel says."),
        click.option("--release", metavar="TEXT", help="As `uname -r` of the kernel says."),
    ):
        function = option(function)
    return function


@click.command()
@build_options
@common_options()
@pass_invocation
def fetch(
    invocation: Invocation, release: str | None, version: str | None, arch: str | None
) -> None:
    """Get BTF of a target's kernel from its distribution's packages.

    Kernels of Debian are known by their version. Without BTF in the kernel it is made of
    its debug information: that is a download of some 700 MB, of which 5 MB are kept.
    """
    from bpfctl.cli.progress import shown
    from bpfctl.kernelbtf import Store
    from bpfctl.kernelbtf.debian import fetch as fetch_debian

    build = _said(release, version, arch)
    if build.is_whole:
        name = ""
    else:
        if release or version:
            raise click.UsageError("say --release and --version, or neither for -t's kernel")
        with invocation.connect() as target:
            build, name = kernel_of(target.info()), target.name
            if target.info().btf_sha256:
                invocation.say(f"{name}: {build} has BTF of its own, nothing to fetch")
                return
    known = Store().find(build)
    if known is not None:
        invocation.say(f"{known.name}: known already, from {known.source}")
        return
    with shown() as progress:
        found = fetch_debian(build, progress)
    entry = Store().add(build.completed(found.kernel.build), found.kernel.btf, found.source)
    _show(invocation, entry)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--for", "target_name", metavar="TARGET", help="It is of this target's kernel.")
@build_options
@common_options()
@pass_invocation
def add(
    invocation: Invocation,
    file: Path,
    target_name: str | None,
    release: str | None,
    version: str | None,
    arch: str | None,
) -> None:
    """Take BTF out of a file and keep it.

    FILE is a kernel image (vmlinuz, Image, zImage, boot.img), a vmlinux with BTF or debug
    information, a Debian package of these, raw BTF, or an archive of BTFHub. The first
    three say which kernel they are; of raw BTF and BTFHub's archives --for, or --release
    and --version, do.
    """
    from bpfctl.cli.progress import shown
    from bpfctl.kernelbtf import KernelBtfError, Store, files

    said = _said(release, version, arch)
    if target_name:
        invocation.take(target_name, None, False)
        with invocation.connect() as target:
            said = said.completed(kernel_of(target.info()))
    with shown() as progress:
        found = files.named(files.read(file, progress), file)
    own = found.kernel.build
    if own.contradicts(said) and not (own.build_id and own.build_id == said.build_id):
        raise KernelBtfError(
            f"{file} is of {own}, not of {said}",
            "its offsets would be wrong there; find the file of that very build",
        )
    build = said.completed(own)
    if not build.is_whole:
        raise KernelBtfError(
            f"{file} does not say which build of a kernel it is of",
            "say it with --for TARGET, or with --release and --version (uname -r and -v)",
        )
    _show(invocation, Store().add(build, found.kernel.btf, found.source))


@click.command("list")
@common_options()
@pass_invocation
def list_kernels(invocation: Invocation) -> None:
    """Kernels whose BTF is kept here, with its size and where it came from."""
    from bpfctl.kernelbtf import Store

    columns = ["name", "arch", "release", "version", "size", "source"]
    if invocation.format != "table":
        columns += ["build_id", "sha256", "added_at", "path"]
    rows = map(row, Store().entries())
    invocation.output.rows(({key: each[key] for key in columns} for each in rows), columns)


@click.command()
@click.argument("kernel", metavar="NAME|RELEASE")
@pass_invocation
def remove(invocation: Invocation, kernel: str) -> None:
    """Forget the BTF of a kernel, by its name in `btf list` or its release."""
    from bpfctl.kernelbtf import Store

    invocation.say(f"removed {Store().remove(kernel).name}")


def row(entry: kernelbtf.Entry) -> dict[str, Any]:
    """An entry for output."""
    from datetime import UTC, datetime

    return {
        "name": entry.name,
        "arch": entry.build.architecture,
        "release": entry.build.release,
        "version": entry.build.version,
        "build_id": entry.build.build_id,
        "size": entry.size,
        "source": entry.source,
        "sha256": entry.sha256,
        "added_at": datetime.fromtimestamp(entry.added, UTC).isoformat(timespec="seconds"),
        "path": str(entry.path),
    }


def kernel_of(info: Any) -> kernelbtf.KernelBuild:
    """The kernel that a target runs."""
    from bpfctl.kernelbtf import KernelBuild

    return KernelBuild.of(info)


def _said(release: str | None, version: str | None, arch: str | None) -> kernelbtf.KernelBuild:
    from bpfctl.compiler.clang import architecture
    from bpfctl.kernelbtf import KernelBuild

    return KernelBuild(architecture(arch) if arch else "", release or "", version or "")


def _show(invocation: Invocation, entry: kernelbtf.Entry) -> None:
    if invocation.format != "table":
        invocation.output.record(row(entry))
        return
    invocation.say(
        f"{entry.name}: {entry.size} bytes of BTF for {entry.build}, from {entry.source}"
    )
