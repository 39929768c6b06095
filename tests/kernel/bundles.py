# SPDX-License-Identifier: Apache-2.0
"""Bundles for tests of bootstrapping: the real one of this machine, and small ones.

A small one has the shape of a real one, and its launcher starts the daemon of this checkout.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bpfctl import bundle
from bpfctl.bootstrap.architecture import debian_architecture

ROOT = Path(__file__).parents[2]

LAUNCHER = f"""#!/bin/sh
if [ "$1" = --python ]; then shift; else set -- -m bpfd "$@"; fi
cd {ROOT} && exec {os.path.realpath(ROOT / ".venv" / "bin")}/python "$@"
"""

NOISE_BYTES = 4 << 20


def arch() -> str:
    """This machine's architecture."""
    return debian_architecture(platform.machine(), frozenset(("vfpv4", "neon")))


def real() -> Path:
    """The bundle of this checkout for this machine."""
    return bundle.build(arch()).path


def small(path: Path, changed: Mapping[str, str] | None = None) -> Path:
    """One of 4 MiB that cannot be compressed; `changed`: files that are others, or more."""
    files = {"bpfd": LAUNCHER.encode(), "lib/noise": _noise(), "licenses/mine": b"mine\n"}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    files["manifest.json"] = json.dumps(
        {"architecture": arch(), "version": "0.1.0", "files": hashes}
    ).encode()
    files |= {name: text.encode() for name, text in (changed or {}).items()}
    with (
        gzip.open(path, "wb", compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, data in files.items():
            _add(archive, name, data)
    return path


def _noise() -> bytes:
    """Always the same: SHAKE of nothing."""
    return hashlib.shake_128(b"").digest(NOISE_BYTES)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(f"bpfd/{name}")
    entry.size, entry.mode = len(data), 0o755
    archive.addfile(entry, io.BytesIO(data))


def variant(path: Path, source: Path, more: Mapping[str, str]) -> Path:
    """A bundle with more files than another."""
    with (
        tarfile.open(source) as old,
        gzip.open(path, "wb", compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w") as new,
    ):
        for member in old:
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
        for name, text in more.items():
            _add(new, name, text.encode())
    return path


Small = Callable[[str, Mapping[str, str]], Path]
