# SPDX-License-Identifier: Apache-2.0
"""Which file tells the functions of what a process mapped: the store's, or the target's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bpfctl.symbols.elf import Facts, Level
from bpfctl.symbols.process import DELETED, Mapping, Process
from bpfctl.symbols.store import Entry, Store
from bpfctl.symbols.symcaches import Location, Symbols, Symcaches
from bpfctl.symbols.target_files import Place, TargetFiles


@dataclass(frozen=True)
class Image:
    """A binary as it was mapped, and what is known of it."""

    path: str
    segments: Facts | None
    symbols: Symbols | None
    note: str = ""
    """What is missing or weaker than it could be; empty: nothing."""

    def find(self, offset: int, back: int = 0) -> tuple[Location, ...]:
        """The functions at an offset in the file, `back` bytes before it."""
        if self.segments is None or self.symbols is None:
            return ()
        address = self.segments.address_of(offset)
        return self.symbols.find(address - back) if address is not None else ()


class Images:
    """Finds them; each once."""

    def __init__(self, files: TargetFiles, store: Store, symcaches: Symcaches) -> None:
        self._files = files
        self._store = store
        self._symcaches = symcaches
        self._found: dict[tuple[object, ...], Image] = {}
        self._seen: dict[str, list[tuple[Process, Mapping]]] = {}

    def remember(self, process: Process) -> None:
        """One more place where files with these build ids may be had."""
        for mapping in process.mappings:
            if mapping.build_id:
                seen = self._seen.setdefault(mapping.build_id.hex(), [])
                if len(seen) < 4 and all(each.pid != process.pid for each, _ in seen):
                    seen.append((process, mapping))

    def of(self, process: Process, mapping: Mapping) -> Image:
        """The image that a mapping is of."""
        key: tuple[object, ...] = (mapping.build_id,)
        if not mapping.build_id:
            key = (process.mount_namespace, mapping.path, mapping.inode, mapping.build_id)
        if key not in self._found:
            self._found[key] = self._make(process, mapping)
        return self._found[key]

    def by_build_id(self, build_id: str) -> Image | None:
        """The image of a build id; None: nothing is known of it."""
        for process, mapping in self._seen.get(build_id, ()):
            return self.of(process, mapping)
        entry = self._store.find(build_id)
        facts = self._files.kept_head(build_id)
        kept = self._files.kept(build_id)
        if entry is not None and facts is None and not entry.only_debug:
            facts = entry.facts()
        symbols, note = self._symbols(build_id, entry, None, kept)
        if facts is None and kept is not None and symbols is not None:
            facts = symbols.facts
        if facts is None and symbols is None:
            return None
        name = str(entry.path) if entry is not None else build_id
        return Image(name, facts, symbols, note)

    def _make(self, process: Process, mapping: Mapping) -> Image:
        build_id = mapping.build_id.hex()
        path = mapping.path.removesuffix(DELETED)
        segments = self._files.kept_head(build_id)
        entry = self._store.find(build_id)
        kept = self._files.kept(build_id)
        place, why = None, ""
        if segments is None or (kept is None and (entry is None or entry.level < Level.LINES)):
            place, why = self._place(process, mapping)
        if segments is None and place is not None:
            segments = self._files.head(place)
        if segments is None and entry is not None and not entry.only_debug:
            segments = entry.facts()
        symbols, note = self._symbols(build_id, entry, place, kept)
        if symbols is None:
            note = note or why
        if segments is None and symbols is not None and not symbols.facts.only_debug:
            segments = symbols.facts
        if segments is None:
            note = note or "where its segments lie is not known"
        return Image(path, segments, symbols, note)

    def _place(self, process: Process, mapping: Mapping) -> tuple[Place | None, str]:
        place, why = self._files.find(process, mapping)
        if place is None:
            for other, same in self._seen.get(mapping.build_id.hex(), ()):
                place, _ = self._files.find(other, same)
                if place is not None:
                    return place, ""
        return place, why

    def _symbols(
        self, build_id: str, entry: Entry | None, place: Place | None, kept: Path | None
    ) -> tuple[Symbols | None, str]:
        """The best that can be had, from the store first if it has lines."""
        if entry is not None and entry.level is Level.LINES:
            found, note = self._converted(entry.key, entry.path)
            if found is not None:
                return found, note
        own, own_note = self._of_target(build_id, place, kept)
        if own is not None and own.facts.level < Level.LINES:
            better = self._elsewhere(build_id, own.facts)
            if better is not None:
                return better, better.note
        if entry is not None and (own is None or own.facts.level < entry.level):
            found, note = self._converted(entry.key, entry.path)
            if found is not None:
                return found, note
        return own, own_note

    def _of_target(
        self, build_id: str, place: Place | None, kept: Path | None
    ) -> tuple[Symbols | None, str]:
        if kept is None and place is not None:
            try:
                kept = self._files.fetch(place)
            except ValueError as error:
                return None, str(error)
        if kept is None:
            return None, ""
        return self._converted(kept.name, kept)

    def _elsewhere(self, build_id: str, facts: Facts) -> Symbols | None:
        """Debug information that stands beside: by .gnu_debuglink, or on the target."""
        entry = self._store.find_link(facts.debuglink, facts.debuglink_crc)
        if entry is not None and entry.level is Level.LINES:
            return self._converted(entry.key, entry.path)[0]
        if not build_id:
            return None
        path = f"/usr/lib/debug/.build-id/{build_id[:2]}/{build_id[2:]}.debug"
        place = self._files.look(path)
        if place is None or place.build_id != build_id:
            return None
        try:
            # Its own place in the cache: the stripped file has the same build id.
            found = self._files.fetch(place, f"{build_id}.debug")
        except ValueError:
            return None
        return self._converted(found.name, found)[0]

    def _converted(self, key: str, path: Path) -> tuple[Symbols | None, str]:
        try:
            found = self._symcaches.find(key) or self._symcaches.make(key, path)
        except ValueError as error:
            return None, str(error)
        return found, found.note
