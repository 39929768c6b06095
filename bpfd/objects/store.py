# SPDX-License-Identifier: Apache-2.0
"""What outlives the daemon: pins in bpffs, and a note beside each about what it is.

Layout under BPFFS/bpfd/v1:

    objects/NAME/programs/PROGRAM  objects/NAME/maps/MAP  objects/NAME/links/LINK
    objects/NAME/code/PROGRAM  (a map with what an XDP program was loaded from)
    (a link with several kernel links is a folder: LINK/0, LINK/1, ...)
    chains/LINK/MAP  what holds chains of XDP programs together (`bpfd.attach.chain.pins`)
    staging/NAME   an object that is not yet whole; a later daemon removes it
    replace/NAME   the next version of objects/NAME; a later daemon finishes or removes it
    trash/NAME     an object that is being removed

Folders change place by one rename, so that a daemon killed at any instruction leaves the
object either as it was or as it was to be. The kernel's pins are the truth; the notes
(STATE/objects/NAME.pb, serialized `bpfd.v1.Object`) say what the kernel does not: full
attach points, times, sections.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from bpfd.kernel import bpffs, files, program_code
from bpfd.kernel.load_options import Loaded
from bpfd.v1 import objects_pb2

_log = logging.getLogger("bpfd.objects.store")


@dataclass
class Found:
    """A pinned object: paths by full name, and what was noted."""

    name: str
    programs: dict[str, str] = field(default_factory=dict)
    maps: dict[str, str] = field(default_factory=dict)
    links: dict[str, list[str]] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    note: objects_pb2.Object | None = None


class Store:
    """Pins and notes of one daemon."""

    def __init__(self, bpffs_root: str, state_dir: str) -> None:
        self._root = f"{bpffs_root}/bpfd/v1"
        self._notes = f"{state_dir}/objects"
        self.chains = f"{self._root}/chains"

    def _object(self, name: str, area: str = "objects") -> str:
        return f"{self._root}/{area}/{bpffs.encode(name)}"

    def add(self, name: str, loaded: Loaded, note: objects_pb2.Object) -> None:
        """Pins a new object whole, or not at all. Raises OSError."""
        path = self._object(name, "staging")
        bpffs.remove(path)
        try:
            self._pin_all(path, loaded)
            bpffs.make_folder(f"{self._root}/objects")
            self.note(note)
            bpffs.rename(path, self._object(name))
        except OSError:
            bpffs.remove(path)
            self._forget(name)
            raise

    def _pin_all(self, path: str, loaded: Loaded) -> None:
        for folder in ("programs", "maps", "links"):
            bpffs.make_folder(f"{path}/{folder}")
        for loaded_map in loaded.maps.values():
            bpffs.pin(loaded_map.fd, f"{path}/maps/{bpffs.encode(loaded_map.name)}")
        for program in loaded.programs.values():
            bpffs.pin(program.fd, f"{path}/programs/{bpffs.encode(program.name)}")
            if program.code is not None:
                _keep(program.code, f"{path}/code/{bpffs.encode(program.name)}")

    def stage_replacement(self, name: str, loaded: Loaded) -> None:
        """Pins the next version of an object beside it. Raises OSError."""
        path = self._object(name, "replace")
        bpffs.remove(path)
        self._pin_all(path, loaded)

    def drop_replacement(self, name: str) -> None:
        """Takes back what `stage_replacement` did."""
        bpffs.remove(self._object(name, "replace"))

    def commit_replacement(self, name: str, note: objects_pb2.Object) -> None:
        """Puts the staged version in the object's place, with the object's links."""
        self.note(note)
        self.finish_replacement(name)

    def finish_replacement(self, name: str) -> None:
        """The renames of `commit_replacement`; may start anywhere in the middle."""
        old, new, trash = (self._object(name, area) for area in ("objects", "replace", "trash"))
        for link in bpffs.entries(f"{old}/links"):
            bpffs.rename(f"{old}/links/{link}", f"{new}/links/{link}")
        bpffs.make_folder(f"{self._root}/trash")
        bpffs.remove(trash)
        if bpffs.exists(old):
            bpffs.rename(old, trash)
        bpffs.rename(new, old)
        bpffs.remove(trash)

    def replacements(self) -> list[str]:
        """Names of objects whose next version was staged by a daemon that was killed."""
        return [bpffs.decode(name) for name in bpffs.entries(f"{self._root}/replace")]

    def add_link(self, owner: str, link: str, fds: list[int]) -> None:
        """Pins a link of an object. Raises OSError."""
        path = f"{self._object(owner)}/links/{bpffs.encode(link)}"
        bpffs.make_folder(os.path.dirname(path))
        if len(fds) == 1:
            bpffs.pin(fds[0], path)
            return
        self._pin_folder(link, path, fds)

    def _of_link(self, link: str, area: str) -> str:
        """A path that no object has: the name of an object has no '='."""
        return f"{self._root}/{area}/link={bpffs.encode(link)}"

    def _pin_folder(self, link: str, path: str, fds: list[int]) -> None:
        staging = self._of_link(link, "staging")
        bpffs.remove(staging)
        bpffs.make_folder(staging)
        try:
            for index, fd in enumerate(fds):
                bpffs.pin(fd, f"{staging}/{index}")
            bpffs.rename(staging, path)
        except OSError:
            bpffs.remove(staging)
            raise

    def replace_link(self, owner: str, link: str, fds: list[int]) -> None:
        """Puts other kernel links in a pinned link's place. Raises OSError."""
        path = f"{self._object(owner)}/links/{bpffs.encode(link)}"
        if len(fds) == 1 and not bpffs.is_folder(path):
            bpffs.replace_pin(fds[0], path)
            return
        if not bpffs.is_folder(path):  # a process has more threads now
            bpffs.remove(path)
            self._pin_folder(link, path, fds)
            return
        for index, fd in enumerate(fds):
            bpffs.replace_pin(fd, f"{path}/{index}")
        for extra in bpffs.entries(path):
            if not extra.isdigit() or int(extra) >= len(fds):
                bpffs.remove(f"{path}/{extra}")

    def move_link(self, old_owner: str, new_owner: str, link: str) -> None:
        """A link now belongs to another object. Raises OSError."""
        folder = f"{self._object(new_owner)}/links"
        bpffs.make_folder(folder)
        entry = bpffs.encode(link)
        bpffs.rename(f"{self._object(old_owner)}/links/{entry}", f"{folder}/{entry}")

    def remove_link(self, owner: str, link: str) -> None:
        """Unpins a link."""
        path = f"{self._object(owner)}/links/{bpffs.encode(link)}"
        if bpffs.is_folder(path):
            trash = self._of_link(link, "trash")
            bpffs.make_folder(f"{self._root}/trash")
            bpffs.remove(trash)
            bpffs.rename(path, trash)
            path = trash
        bpffs.remove(path)

    def remove(self, name: str) -> None:
        """Unpins an object and everything of it, links first."""
        path, trash = self._object(name), self._object(name, "trash")
        if bpffs.exists(path):
            bpffs.make_folder(f"{self._root}/trash")
            bpffs.remove(trash)
            bpffs.rename(path, trash)
            self._empty(trash)
        self._forget(name)

    def _empty(self, path: str) -> None:
        for folder in ("links", "programs", "maps"):
            bpffs.remove(f"{path}/{folder}")
        bpffs.remove(path)

    def clear(self) -> None:
        """Removes what a killed daemon had not finished, and folders without content."""
        for name in bpffs.entries(f"{self._root}/trash"):
            self._empty(f"{self._root}/trash/{name}")
        bpffs.remove(f"{self._root}/staging")
        for area in ("trash", "replace", "objects", ""):
            bpffs.remove_empty(f"{self._root}/{area}")

    def find(self) -> list[Found]:
        """Every pinned object."""
        return [
            self._find(bpffs.decode(name), "objects")
            for name in bpffs.entries(f"{self._root}/objects")
            if bpffs.is_folder(f"{self._root}/objects/{name}")
        ]

    def find_object(self, name: str) -> Found:
        """One pinned object; empty when there is none of that name."""
        return self._find(name, "objects")

    def find_replacement(self, name: str) -> Found:
        """The staged next version of an object."""
        return self._find(name, "replace")

    def _find(self, name: str, area: str) -> Found:
        path = self._object(name, area)
        found = Found(name, note=self._read_note(name))
        kinds = (("programs", found.programs), ("maps", found.maps), ("code", found.code))
        for kind, paths in kinds:
            for entry in bpffs.entries(f"{path}/{kind}"):
                paths[bpffs.decode(entry)] = f"{path}/{kind}/{entry}"
        for entry in bpffs.entries(f"{path}/links"):
            at = f"{path}/links/{entry}"
            if entry.endswith("=new"):  # a link that was never put in place
                bpffs.remove(at)
                continue
            found.links[bpffs.decode(entry)] = self._pins_of_link(at)
        return found

    def _pins_of_link(self, path: str) -> list[str]:
        if not bpffs.is_folder(path):
            return [path]
        names = bpffs.entries(path)
        for name in names:
            if name.endswith("=new"):
                bpffs.remove(f"{path}/{name}")
        return [f"{path}/{each}" for each in sorted(filter(str.isdigit, names), key=int)]

    def note(self, note: objects_pb2.Object) -> None:
        """Keeps what the kernel does not; written whole or not at all.

        Where it cannot be written (a full disk), the object works all the same and is
        adopted by what the kernel says.
        """
        try:
            files.write_atomic(self._note(note.name), note.SerializeToString())
        except OSError as error:
            _log.warning("no note of object %s: %s", note.name, error)

    def _note(self, name: str) -> str:
        return f"{self._notes}/{bpffs.encode(name)}.pb"

    def _read_note(self, name: str) -> objects_pb2.Object | None:
        try:
            data = files.read(self._note(name))
            return None if data is None else objects_pb2.Object.FromString(data)
        except (DecodeError, OSError) as error:
            _log.warning("the note of object %s cannot be read: %s", name, error)
            return None

    def _forget(self, name: str) -> None:
        try:
            files.remove(self._note(name))
        except OSError as error:
            _log.warning("the note of object %s stays: %s", name, error)


def _keep(code: program_code.Code, path: str) -> None:
    """Pins what a program was loaded from."""
    bpffs.make_folder(os.path.dirname(path))
    fd = program_code.to_map(code)
    try:
        bpffs.pin(fd, path)
    finally:
        os.close(fd)


class Journal:
    """What must be undone when the daemon is killed: hooks without kernel links.

    One JSON file for each link, written before the kernel is touched.
    """

    def __init__(self, state_dir: str) -> None:
        self._folder = f"{state_dir}/journal"

    def write(self, link: str, entry: bytes) -> None:
        """Notes what `link` is about to do. Raises OSError."""
        files.write_atomic(f"{self._folder}/{bpffs.encode(link)}.json", entry)

    def remove(self, link: str) -> None:
        """It has been undone."""
        files.remove(f"{self._folder}/{bpffs.encode(link)}.json")

    def entries(self) -> dict[str, bytes]:
        """What a daemon that was killed left, by link."""
        found = {}
        for name in bpffs.entries(self._folder):
            data = files.read(f"{self._folder}/{name}")
            if data is not None and name.endswith(".json"):
                found[bpffs.decode(name.removesuffix(".json"))] = data
        return found


class PinNotes:
    """Which pins of maps stand outside the daemon's own folder: `bpfd purge` removes them."""

    def __init__(self, state_dir: str) -> None:
        self._folder = f"{state_dir}/pins"

    def _note(self, path: str) -> str:
        # Paths may be longer than the 255 bytes of a file name.
        return f"{self._folder}/{hashlib.sha256(os.fsencode(path)).hexdigest()}"

    def add(self, path: str) -> None:
        """Notes a pin; one that cannot be noted stays all the same."""
        try:
            files.write_atomic(self._note(path), os.fsencode(path))
        except OSError as error:
            _log.warning("%s cannot be noted: %s", path, error.strerror)

    def remove(self, path: str) -> None:
        """The pin is gone."""
        files.remove(self._note(path))

    def paths(self) -> list[str]:
        """All pins that are noted and still there, sorted."""
        notes = (files.read(f"{self._folder}/{name}") for name in bpffs.entries(self._folder))
        paths = (os.fsdecode(note) for note in notes if note)
        return sorted(path for path in paths if bpffs.exists(path))
