# SPDX-License-Identifier: Apache-2.0
"""Binaries of a target, fetched once and kept by what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bpfctl.config import cache_dir
from bpfctl.errors import BpfctlError
from bpfctl.progress import Progress, silent
from bpfctl.symbols import elf
from bpfctl.symbols.folder import BoundedFolder
from bpfctl.symbols.process import DELETED, Mapping, Process

if TYPE_CHECKING:
    from bpfctl.files import Files
    from bpfd.v1 import files_pb2

MAX_FILE_BYTES = 512 << 20
"""Of one file; a larger one is not fetched."""

MAX_BYTES = 4 << 30
"""Of all that are kept."""


@dataclass(frozen=True)
class Place:
    """Where a file was seen on a target."""

    path: str
    status: files_pb2.FileStat

    @property
    def build_id(self) -> str:
        """Hexadecimal; empty: it has none."""
        return self.status.build_id.hex()


class TargetFiles:
    """Finds and fetches the files behind mappings."""

    def __init__(
        self, files: Files, progress: Progress = silent, folder: Path | None = None
    ) -> None:
        self._files = files
        self._progress = progress
        kept = folder or cache_dir() / "symbols"
        self._kept = BoundedFolder(kept / "files", MAX_BYTES)
        self._heads = BoundedFolder(kept / "heads", 64 << 20)

    def find(self, process: Process, mapping: Mapping) -> tuple[Place | None, str]:
        """The very file that was mapped, wherever it can still be had; else why not."""
        other = ""
        for path in _paths(process, mapping):
            place = self.look(path)
            if place is None:
                continue
            if _is_same(place, mapping):
                return place, ""
            other = other or _another(mapping, place)
        if mapping.path.endswith(DELETED):
            other = "it was deleted or replaced on the target, and the process has ended"
        return None, other or "its file cannot be read on the target"

    def look(self, path: str) -> Place | None:
        """What stands at a path; None: nothing that the daemon lets one read."""
        try:
            return Place(path, self._files.stat(path))
        except BpfctlError:
            return None

    def kept_head(self, build_id: str) -> elf.Facts | None:
        """Segments of a file seen before."""
        path = self._heads.find(build_id) if build_id else None
        return _head(path.read_bytes()) if path is not None else None

    def head(self, place: Place) -> elf.Facts | None:
        """Segments of a file; None: it is no sound ELF file, or has gone."""
        try:
            data = self._files.read(place.path, 0, elf.HEAD_BYTES)
        except BpfctlError:
            return None
        found = _head(data)
        if found is not None and place.build_id:
            try:
                with self._heads.fresh() as fresh:
                    fresh.write_bytes(data)
                    self._heads.keep(fresh, place.build_id)
            except OSError:
                pass
        return found

    def kept(self, build_id: str) -> Path | None:
        """A file that was fetched before; None: it was not."""
        return self._kept.find(build_id) if build_id else None

    def fetch(self, place: Place, name: str = "") -> Path:
        """The whole file, as `name`; else by its build id or the hash of its content.

        Raises ValueError that says why it is not to be had.
        """
        size = place.status.size
        if size > MAX_FILE_BYTES:
            raise ValueError(
                f"it is not fetched: {size >> 20} MiB, more than {MAX_FILE_BYTES >> 20};"
                " `bpfctl symbols add` a copy of it"
            )
        digest = hashlib.sha256()
        try:
            with self._kept.fresh() as fresh:
                with open(fresh, "wb") as file:
                    for data in self._pieces(place):
                        digest.update(data)
                        file.write(data)
                return self._kept.keep(
                    fresh, name or place.build_id or f"sha256-{digest.hexdigest()}"
                )
        except BpfctlError as error:
            raise ValueError(f"it could not be fetched: {error}") from None
        except OSError as error:
            raise ValueError(f"it could not be kept: {error}") from None

    def _pieces(self, place: Place) -> Iterator[bytes]:
        what = f"fetching {place.path.rpartition('/')[2]}"
        done = 0
        for data in self._files.chunks(place.path, 0, MAX_FILE_BYTES):
            done += len(data)
            self._progress(what, done, place.status.size)
            yield data


def _paths(process: Process, mapping: Mapping) -> Iterator[str]:
    """The file itself as long as the process lives, in its own folders, in the target's."""
    yield f"/proc/{process.pid}/map_files/{mapping.start:x}-{mapping.end:x}"
    if mapping.path.startswith("/") and not mapping.path.endswith(DELETED):
        yield f"/proc/{process.pid}/root{mapping.path}"
        yield mapping.path


def _is_same(place: Place, mapping: Mapping) -> bool:
    if mapping.build_id or place.status.build_id:
        return place.status.build_id == mapping.build_id
    return place.status.inode == mapping.inode


def _another(mapping: Mapping, place: Place) -> str:
    if mapping.build_id and place.build_id:
        return (
            f"{place.path} is another build now ({place.build_id[:12]}) than the process ran "
            f"({mapping.build_id.hex()[:12]})"
        )
    return f"{place.path} is another file now than the process ran"


def _head(data: bytes) -> elf.Facts | None:
    try:
        return elf.facts_of_head(data)
    except ValueError:
        return None
