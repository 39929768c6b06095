# SPDX-License-Identifier: Apache-2.0
"""The store of unstripped binaries: files and folders of the workstation, by build id.

Nothing is copied. A folder that was added is looked through again when a build id is asked
for that nobody knows: what was built anew meanwhile is found.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bpfctl.config import data_dir
from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.progress import Progress, silent
from bpfctl.symbols import elf
from bpfctl.symbols.elf import Level

DEBUG_FOLDER = Path("/usr/lib/debug/.build-id")
"""Where distributions put debug information, on the workstation too."""


@dataclass(frozen=True)
class Entry:
    """A file."""

    path: Path
    root: Path
    """What was added."""
    size: int
    modified_ns: int
    build_id: str
    """Hexadecimal; empty: none."""
    level: Level
    machine: str = ""
    only_debug: bool = False
    split: bool = False

    @property
    def key(self) -> str:
        """Of its symcache: changes with the file."""
        name = self.build_id or f"path-{zlib.crc32(os.fsencode(self.path)):08x}"
        return f"{name}.{self.size:x}-{self.modified_ns:x}"

    @property
    def is_there(self) -> bool:
        """Whether the file is still the one that was added."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.modified_ns)

    def facts(self) -> elf.Facts | None:
        """Segments; None: the file has gone."""
        try:
            with open(self.path, "rb") as file:
                return elf.facts(file)
        except (OSError, ValueError):
            return None


class Store:
    """The index below `folder`, by default of the user's data folder."""

    def __init__(self, folder: Path | None = None, system: Path | None = DEBUG_FOLDER) -> None:
        self.folder = folder or data_dir() / "symbols"
        self._system = system
        self._entries: list[Entry] | None = None
        self._rescanned = False

    def entries(self) -> list[Entry]:
        """All, in the order of their paths."""
        if self._entries is None:
            self._entries = _read(self.folder / "index.json")
        return self._entries

    def find(self, build_id: str) -> Entry | None:
        """The file of a build id that tells most; None: there is none."""
        if not build_id:
            return None
        found = self._best(each for each in self.entries() if each.build_id == build_id)
        if found is None:
            found = self._of_system(build_id)
        if found is None and self.entries() and not self._rescanned:
            self._rescanned = True
            self._rescan()
            found = self._best(each for each in self.entries() if each.build_id == build_id)
        return found

    def find_link(self, name: str, crc: int) -> Entry | None:
        """The file that a .gnu_debuglink means: by its name and CRC-32."""
        for each in self.entries() if name else ():
            if each.path.name == name and each.is_there and _crc(each.path) == crc:
                return each
        return None

    def add(self, path: Path, progress: Progress = silent) -> list[Entry]:
        """Take a file, or all ELF files below a folder; gives what was found.

        Raises InvalidArgument where there is none.
        """
        root = path.resolve()
        with self._locked():
            kept = [each for each in _read(self._index) if each.root != root]
            known = {each.path: each for each in _read(self._index)}
            found = list(_scan(root, known, progress))
            if not found:
                raise InvalidArgument(
                    "path", f"{path} holds no ELF file with symbols or a build id"
                )
            self._write([*kept, *found])
        return found

    def remove(self, which: str) -> list[Entry]:
        """Forget what was added by a path, or a file by its build id or its beginning.

        Raises NotFound. The files themselves stay.
        """
        place = Path(which).resolve()
        with self._locked():
            every = _read(self._index)
            gone = [each for each in every if place in (each.root, each.path)] or [
                each
                for each in every
                if len(which) >= 4 and each.build_id.startswith(which.lower())
            ]
            if not gone:
                raise NotFound("symbols", which, [], "`bpfctl symbols list` shows all")
            self._write([each for each in every if each not in gone])
        return gone

    @property
    def _index(self) -> Path:
        return self.folder / "index.json"

    @staticmethod
    def _best(entries: Iterable[Entry]) -> Entry | None:
        there = [each for each in entries if each.is_there]
        return max(
            there,
            key=lambda each: (each.level, not each.only_debug, not each.split),
            default=None,
        )

    def _of_system(self, build_id: str) -> Entry | None:
        """As /usr/lib/debug/.build-id/ab/cdef.debug of this workstation."""
        if self._system is None:
            return None
        path = self._system / build_id[:2] / f"{build_id[2:]}.debug"
        found = _entry(path, path)
        return found if found is not None and found.build_id == build_id else None

    def _rescan(self) -> None:
        with self._locked():
            old = _read(self._index)
            known = {each.path: each for each in old}
            fresh: list[Entry] = []
            for root in sorted({each.root for each in old}):
                fresh.extend(_scan(root, known, silent))
            if fresh != old:
                self._write(fresh)
            self._entries = fresh

    def _write(self, entries: list[Entry]) -> None:
        entries = sorted(entries, key=lambda each: (each.path, each.root))
        with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False) as file:
            json.dump([_fields(each) for each in entries], file, indent=0)
        os.replace(file.name, self._index)
        self._entries = entries

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _scan(root: Path, known: dict[Path, Entry], progress: Progress) -> Iterator[Entry]:
    """ELF files at or below a path; what did not change is not read again."""
    files = [root] if root.is_file() else _walk(root)
    seen: set[tuple[int, int]] = set()
    for count, path in enumerate(files):
        if count % 64 == 0:
            progress(f"looking through {root.name}", count, 0)
        try:
            status = path.stat()
        except OSError:
            continue
        # Hard links and links to what is also there are one file.
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        before = known.get(path)
        if before is not None and before.root == root and before.is_there:
            yield before
        elif (found := _entry(path, root)) is not None:
            yield found


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file():
                yield path


def _entry(path: Path, root: Path) -> Entry | None:
    """None: no ELF file, or one that says nothing of its functions."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"\x7fELF":
                return None
            file.seek(0)
            status = os.fstat(file.fileno())
            facts = elf.facts(file)
    except (OSError, ValueError):
        return None
    if not facts.segments or (facts.level is Level.NOTHING and not facts.build_id):
        return None
    return Entry(
        path=path,
        root=root,
        size=status.st_size,
        modified_ns=status.st_mtime_ns,
        build_id=facts.build_id,
        level=facts.level,
        machine=facts.machine,
        only_debug=facts.only_debug,
        split=facts.split,
    )


def _crc(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            crc = zlib.crc32(data, crc)
    return crc


def _fields(entry: Entry) -> dict[str, object]:
    return {
        "path": str(entry.path),
        "root": str(entry.root),
        "size": entry.size,
        "modified_ns": entry.modified_ns,
        "build_id": entry.build_id,
        "level": int(entry.level),
        "machine": entry.machine,
        "only_debug": entry.only_debug,
        "split": entry.split,
    }


def _read(path: Path) -> list[Entry]:
    try:
        return [
            Entry(
                **{
                    **fields,
                    "path": Path(fields["path"]),
                    "root": Path(fields["root"]),
                    "level": Level(fields["level"]),
                }
            )
            for fields in json.loads(path.read_bytes())
        ]
    except (OSError, ValueError, LookupError, TypeError):
        return []
