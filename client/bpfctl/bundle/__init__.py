# SPDX-License-Identifier: Apache-2.0
"""The daemon as one file for a device that has a shell, tar and gzip, and nothing else.

A bundle holds the loader, the C library, Python, gRPC, libbpf and the daemon, out of Debian's
packages and wheels for the device's architecture. It is put together on any Linux machine;
nothing of the device's architecture is run for that.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfctl.config import cache_dir
from bpfctl.debian import Archive
from bpfctl.progress import Progress, silent

from . import pack, recipe, resolve
from .assemble import assemble
from .errors import BundleError
from .python import Python, compress

__all__ = ["KEPT", "Bundle", "BundleError", "architectures", "build", "built", "show"]

KEPT = 6
"""Bundles of one architecture that stay in the cache; the ones used least lately go."""


@dataclass(frozen=True)
class Bundle:
    """A bundle's file."""

    path: Path
    """A .tar.gz with one folder, `bpfd`."""
    sha256: str
    arch: str
    """Debian's word."""
    version: str
    """The daemon's."""
    size: int
    """Bytes of the file."""


def architectures() -> list[str]:
    """What bundles can be built for, in Debian's words."""
    return list(recipe.load().architectures)


def build(arch: str, *, progress: Progress = silent, refresh: bool = False) -> Bundle:
    """The bundle for `arch` ("arm64"), from the cache when its inputs are as they were.

    `refresh` looks for newer Debian packages first. Raises BundleError, and ArchiveError
    for what Debian's archive does not give.
    """
    what = recipe.load()
    architecture = what.architecture(arch)
    archive = Archive(what.suite, arch)
    if refresh:
        archive.refresh()
    own = resolve.daemon()
    key = resolve.key(what, architecture, own, archive.updated())
    folder = _folder() / key
    cached = _read(folder)
    if cached is not None:
        os.utime(folder)
        return cached
    inputs = resolve.inputs(what, architecture, own, progress)
    native = Python.of_this_machine(what, progress)
    with tempfile.TemporaryDirectory(prefix="bpfctl-bundle-") as work:
        data = pack.archive(assemble(inputs, native, Path(work), progress))
        progress("compressing", 0, 0)
        data = compress(native, data, Path(work))
    path = folder / f"bpfd-{own.version}-{arch}.tar.gz"
    sha256 = pack.write(data, path)
    pack.write(f"{sha256}\n".encode(), folder / "sha256")
    _prune(arch)
    return Bundle(path, sha256, arch, own.version, len(data))


def built() -> list[Bundle]:
    """The bundles in the cache, those used last first."""
    folders = sorted(_folder().glob("*"), key=lambda each: -each.stat().st_mtime_ns)
    return [found for found in map(_read, folders) if found is not None]


def show(path: Path) -> dict[str, Any]:
    """The manifest of a bundle's file; raises BundleError where it is none."""
    return pack.read_manifest(path)


def _folder() -> Path:
    return cache_dir() / "bundles"


def _read(folder: Path) -> Bundle | None:
    """The bundle of a folder of the cache; None: there is none, or a damaged one."""
    for path in folder.glob("bpfd-*-*.tar.gz"):
        try:
            known = (folder / "sha256").read_text().strip()
            with open(path, "rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if sha256 == known:
                version, _, arch = path.name.removesuffix(".tar.gz")[5:].rpartition("-")
                return Bundle(path, sha256, arch, version, path.stat().st_size)
        except OSError:
            pass
    return None


def _prune(arch: str) -> None:
    for bundle in [each for each in built() if each.arch == arch][KEPT:]:
        shutil.rmtree(bundle.path.parent, ignore_errors=True)
