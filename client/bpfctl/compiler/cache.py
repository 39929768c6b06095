# SPDX-License-Identifier: Apache-2.0
"""Compiled objects and vmlinux.h files by content, in the user's cache folder.

A build's *inputs key* covers the source's bytes, the flags and the compiler. It names a
manifest: for each known outcome the files that were included, and the object. An outcome
holds while every one of its files is as it was; that is checked without starting a process,
by size, time and inode first and by content where those differ. A header that appears in an
earlier include folder later on is not noticed; `--no-cache` is for that.

Entries are written beside their place and renamed into it, so that concurrent builds see
whole files; whatever cannot be read or does not check out is as good as absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from bpfctl.config import cache_dir

FORMAT = 2
"""Raised when what is stored, or how objects are made, changes."""

OUTCOMES_KEPT = 16
"""Outcomes of one manifest: states of the headers that were built lately."""

FILES_KEPT = 2000
"""Objects and manifests each; the ones used least lately go first."""

_RACY_NS = 2_000_000_000
"""A file changed this short before it was read may change again within one time stamp."""


@dataclass(frozen=True)
class Outcome:
    """What compiling gave when the included files were as listed."""

    object: bytes
    path: Path
    warnings: str


class _Entry(TypedDict):
    files: list[_File]
    object: str
    warnings: str
    btf: str


_File = list[Any]
"""[path, size, mtime in ns or 0 for "look at the content", inode, SHA-256]"""


def folder() -> Path:
    """The cache folder: $BPFCTL_CACHE_DIR or the user's; made when missing.

    Raises OSError when it cannot be made.
    """
    root = cache_dir()
    root.mkdir(parents=True, exist_ok=True)
    return root


def write(path: Path, data: bytes) -> None:
    """Make the file with these bytes appear at once, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def key(*parts: object) -> str:
    """A name for these parts; their texts are kept apart."""
    digest = hashlib.sha256(f"{FORMAT}\n".encode())
    for part in parts:
        raw = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        digest.update(b"%d:" % len(raw) + raw)
    return digest.hexdigest()


def find(root: Path, inputs: str, btf_sha256: str) -> Outcome | None:
    """The outcome of earlier builds with these inputs that still holds."""
    path = _manifest(root, inputs)
    outcomes = _read(path)
    for index, entry in enumerate(outcomes):
        if entry["btf"] not in ("", btf_sha256):
            continue
        refreshed = _unchanged(entry["files"])
        if refreshed is None:
            continue
        stored = _object(root, entry["object"])
        try:
            data = stored.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(data).hexdigest() != entry["object"]:
            continue
        if refreshed != entry["files"]:
            outcomes[index] = {**entry, "files": refreshed}
            _write(path, outcomes)
        return Outcome(data, stored, entry["warnings"])
    return None


def store(
    root: Path,
    inputs: str,
    data: bytes,
    warnings: str,
    files: Iterable[str],
    btf_sha256: str,
    started_ns: int,
) -> Outcome:
    """Keep an outcome.

    `files` are the included files; `btf_sha256` is empty unless vmlinux.h was among them.
    A file that changed after `started_ns` may differ from what was compiled, and then the
    outcome is not remembered.
    """
    name = hashlib.sha256(data).hexdigest()
    path = _object(root, name)
    write(path, data)
    listed = []
    for file in files:
        state = _state(file, started_ns)
        if state is None:
            return Outcome(data, path, warnings)
        listed.append(state)
    manifest = _manifest(root, inputs)
    entry: _Entry = {"files": listed, "object": name, "warnings": warnings, "btf": btf_sha256}
    others = [other for other in _read(manifest) if other["files"] != listed]
    _write(manifest, [entry, *others][:OUTCOMES_KEPT])
    prune(root / "objects")
    prune(root / "manifests")
    return Outcome(data, path, warnings)


def prune(place: Path, keep: int = FILES_KEPT) -> None:
    """Remove what was changed longest ago until `keep` files are left."""
    try:
        with os.scandir(place) as entries:
            found = [(entry.stat().st_mtime_ns, entry.path) for entry in entries]
    except OSError:
        return
    for _, path in sorted(found)[: max(0, len(found) - keep)]:
        Path(path).unlink(missing_ok=True)


def _manifest(root: Path, inputs: str) -> Path:
    return root / "manifests" / f"{inputs}.json"


def _object(root: Path, name: str) -> Path:
    return root / "objects" / f"{name}.o"


def _read(path: Path) -> list[_Entry]:
    try:
        check, _, body = path.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != check:
            return []
        entries: list[_Entry] = json.loads(body)
        return entries
    except (OSError, ValueError):
        return []


def _write(path: Path, entries: list[_Entry]) -> None:
    body = json.dumps(entries, separators=(",", ":")).encode()
    write(path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def _unchanged(files: list[_File]) -> list[_File] | None:
    """The files with fresh times where only those differ; None: a content differs."""
    now = time.time_ns()
    refreshed = []
    for file in files:
        path, size, changed, inode, digest = file
        try:
            status = os.stat(path)
            if status.st_size != size:
                return None
            if (status.st_mtime_ns, status.st_ino) == (changed, inode):
                refreshed.append(file)
                continue
            if _digest(path) != digest:
                return None
        except OSError:
            return None
        settled = status.st_mtime_ns if now - status.st_mtime_ns > _RACY_NS else 0
        refreshed.append([path, size, settled, status.st_ino, digest])
    return refreshed


def _state(path: str, started_ns: int) -> _File | None:
    try:
        status = os.stat(path)
        if status.st_mtime_ns > started_ns:
            return None
        settled = status.st_mtime_ns if started_ns - status.st_mtime_ns > _RACY_NS else 0
        return [path, status.st_size, settled, status.st_ino, _digest(path)]
    except OSError:
        return None


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
