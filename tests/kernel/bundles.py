# SPDX-License-Identifier: Apache-2.0
"""Bundles for tests of bootstrapping: the real one of this machine, and variants of it."""

from __future__ import annotations

import gzip
import io
import platform
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bpfctl import bundle
from bpfctl.bootstrap.architecture import debian_architecture


def real() -> Path:
    """The bundle of this checkout for this machine."""
    arch = debian_architecture(platform.machine(), frozenset(("vfpv4", "neon")))
    return bundle.build(arch).path


def variant(path: Path, source: Path, changed: Mapping[str, str | None]) -> Path:
    """A bundle in which files are others (executable text), or missing (None)."""
    with (
        tarfile.open(source) as old,
        gzip.open(path, "wb", compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w") as new,
    ):
        for member in old:
            if member.name not in changed:
                new.addfile(member, old.extractfile(member) if member.isfile() else None)
        for name, text in changed.items():
            if text is not None:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(text.encode()), 0o755
                new.addfile(entry, io.BytesIO(text.encode()))
    return path


Variant = Callable[[str, Mapping[str, str | None]], Path]
