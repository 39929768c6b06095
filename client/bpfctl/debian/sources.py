# SPDX-License-Identifier: Apache-2.0
"""Where packages come from: the mirrors that this machine's apt is set up with."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

MIRROR_VARIABLE = "BPFCTL_DEBIAN_MIRROR"
"""Names a mirror for machines whose own apt has none of Debian's."""

KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)
"""Keys of Debian's archive, of package debian-archive-keyring."""

UNSTABLE = ("sid", "unstable", "experimental")
"""Suites without updates of their own."""

INDEX_FORMAT = "$(REPO_URI) $(RELEASE) $(ORIGIN)"
"""What `apt-get indextargets --format` shall print for `sources`."""


@dataclass(frozen=True)
class Source:
    """One mirror and what it adds to a suite's name: "", "-updates" or "-security"."""

    uri: str
    suffix: str


def sources(index_targets: Iterable[str]) -> list[Source]:
    """The mirrors of Debian among the lines that apt prints for INDEX_FORMAT.

    $BPFCTL_DEBIAN_MIRROR, when set, is the only one.
    """
    override = os.environ.get(MIRROR_VARIABLE)
    if override:
        return [Source(override, "")]
    found: list[Source] = []
    for line in index_targets:
        uri, release, origin = ([*line.split(" ", 2), "", ""])[:3]
        if not _is_debian(uri, origin):
            continue
        suffix = next((s for s in ("-updates", "-security") if release.endswith(s)), "")
        if suffix == "" and "-" in release:
            # Backports and the like are not what a suite's name means.
            continue
        source = Source(uri, suffix)
        if source not in found:
            found.append(source)
    return found


def _is_debian(uri: str, origin: str) -> bool:
    if origin:
        return origin.strip() == "Debian"
    # apt knows the origin once its lists were fetched; before that the path must do.
    return uri.rstrip("/").endswith(("/debian", "/debian-security"))


def source_list(
    found: Iterable[Source], suite: str, arch: str, keyring: str, component: str = "main"
) -> str:
    """A sources.list for one suite and architecture."""
    lines = [
        f"deb [arch={arch} signed-by={keyring}] {source.uri} {suite}{source.suffix} {component}"
        for source in found
        if not (source.suffix and suite in UNSTABLE)
    ]
    return "".join(f"{line}\n" for line in lines)
