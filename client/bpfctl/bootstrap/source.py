# SPDX-License-Identifier: Apache-2.0
"""A bundle on the workstation, as it is sent to a target."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

from bpfctl.errors import InvalidArgument
from bpfctl.progress import Progress, silent


@dataclass(frozen=True)
class Source:
    """A .tar.gz with the one folder `bpfd/`."""

    path: Path
    sha256: str
    """In hexadecimal, of the file."""
    arch: str
    version: str
    packed: int
    """Bytes of the file."""
    unpacked: int
    """Bytes of what is in it."""


def from_file(path: Path) -> Source:
    """A bundle that was built before; raises InvalidArgument when it is none."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            unpacked, manifest = 0, None
            for member in archive:
                unpacked += member.size
                if member.name == "bpfd/manifest.json":
                    file = archive.extractfile(member)
                    manifest = json.load(file) if file else None
        with path.open("rb") as data:
            sha256 = hashlib.file_digest(data, "sha256").hexdigest()
        if not isinstance(manifest, dict) or not isinstance(manifest.get("architecture"), str):
            raise InvalidArgument(
                str(path), "not a bundle: no bpfd/manifest.json with `architecture`"
            )
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise InvalidArgument(str(path), f"not a bundle: {error}") from None
    return Source(
        path,
        sha256,
        manifest["architecture"],
        str(manifest.get("version", "")),
        path.stat().st_size,
        unpacked,
    )


def built(arch: str, progress: Progress = silent) -> Source:
    """The bundle of this bpfctl for an architecture; built when it is not in the cache."""
    from bpfctl import bundle

    return from_file(bundle.build(arch, progress=progress).path)
