# SPDX-License-Identifier: Apache-2.0
"""The bundle as one file: the same contents give the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BundleError

FOLDER = "bpfd"
"""The one folder in the file."""

MANIFEST = f"{FOLDER}/manifest.json"


@dataclass(frozen=True)
class Content:
    """A file of the bundle."""

    source: Path | bytes
    executable: bool = False

    def read(self) -> bytes:
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


def archive(contents: Mapping[str, Content]) -> bytes:
    """A tar file with the contents, by their names below `FOLDER`.

    Names are sorted, but the manifest stands first; everything is root's and from 1970.
    """
    buffer = io.BytesIO()
    first = MANIFEST.removeprefix(f"{FOLDER}/")
    names = sorted(contents, key=lambda name: (name != first, name))
    made: set[str] = set()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in names:
            path = f"{FOLDER}/{name}"
            for folder in reversed(Path(path).parents[:-1]):
                if str(folder) not in made:
                    made.add(str(folder))
                    tar.addfile(_entry(str(folder), tarfile.DIRTYPE, 0o755))
            content = contents[name]
            data = content.read()
            entry = _entry(path, tarfile.REGTYPE, 0o755 if content.executable else 0o644)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = kind, mode, 0
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def write(data: bytes, path: Path) -> str:
    """Makes the file appear at once; gives its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(data)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return hashlib.sha256(data).hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest in a bundle's file; raises BundleError where there is none."""
    try:
        with tarfile.open(path, "r|gz") as tar:
            for entry in tar:
                if entry.name == MANIFEST:
                    file = tar.extractfile(entry)
                    assert file is not None
                    manifest: dict[str, Any] = json.load(file)
                    return manifest
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        raise BundleError(f"{path} is no bundle: {error}") from None
    raise BundleError(f"{path} is no bundle: it has no manifest")
