# SPDX-License-Identifier: Apache-2.0
"""pprof's files (`.pb.gz`): what `go tool pprof`, speedscope and most profile stores read.

Samples have the labels "comm", "pid" and "tid"; what was missed, the title and the target are
comments. A frame without a name is written by the name that is shown for it.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from bpfctl.printable import printable
from bpfctl.profiles import labels
from bpfctl.profiles.model import Frame, Profile, Sample

PAGE = 4096
TYPES = {"samples": ("samples", "count"), "nanoseconds": ("time", "nanoseconds")}
"""(type, unit) of values by a profile's unit; "bytes" are ("space", "bytes")."""

TITLE, TARGET, MISSED = "title: ", "target: ", "missed: "


def write(profile: Profile) -> bytes:
    """The file, compressed; the same profile gives the same bytes."""
    from bpfctl.profiles.pprof_messages import Profile as Message

    writer = _Writer(Message(), profile)
    # 100,000 stacks: level 4 takes a third of level 9's time for a tenth more bytes.
    return gzip.compress(writer.message().SerializeToString(), 4, mtime=0)


class _Writer:
    def __init__(self, into: Any, profile: Profile) -> None:
        self.into = into
        self.profile = profile
        self.strings: dict[str, int] = {"": 0}
        self.functions: dict[tuple[str, str], int] = {}
        self.mappings: dict[str, Any] = {}
        self.locations: dict[tuple[Frame, ...], int] = {}
        self.single: dict[int, int] = {}
        """Locations of one function, by the identity of its frame."""
        self.stacks: dict[tuple[int, ...], list[int]] = {}

    def message(self) -> Any:
        self._types()
        samples = sorted(self.profile.samples, key=lambda sample: -sample.value)
        self._main_mapping(samples)
        for sample in samples:
            self._sample(sample)
        self._comments()
        self.into.string_table.extend(self.strings)
        return self.into

    def _types(self) -> None:
        into, profile = self.into, self.profile
        kind, unit = TYPES.get(profile.unit) or (
            ("space", "bytes") if profile.unit == "bytes" else (profile.unit, "count")
        )
        into.sample_type.add(type=self.text(kind), unit=self.text(unit))
        self.timed = profile.unit == "samples" and profile.period > 0
        if self.timed:
            kind, unit = "cpu", "nanoseconds"
            into.sample_type.add(type=self.text(kind), unit=self.text(unit))
        into.default_sample_type = self.text(kind)
        into.period_type.type, into.period_type.unit = self.text(kind), self.text(unit)
        into.period = profile.period
        into.duration_nanos = round(profile.duration_s * 1e9)
        if profile.started is not None:
            since = profile.started - datetime(1970, 1, 1, tzinfo=UTC)
            into.time_nanos = (since.days * 86400 + since.seconds) * 10**9
            into.time_nanos += since.microseconds * 1000

    def _main_mapping(self, samples: Iterable[Sample]) -> None:
        """pprof takes the first mapping for the program that was profiled."""
        for sample in samples:
            for frame in sample.stack:
                if frame.module.startswith("/"):
                    self.mapping(frame.module)
                    return

    def _sample(self, sample: Sample) -> None:
        frames = tuple(map(id, sample.stack))
        ids = self.stacks.get(frames)
        if ids is None:
            ids = self.stacks[frames] = [*self._stack(sample.stack)]
        value = [sample.value]
        if self.timed:
            value.append(sample.value * self.profile.period)
        message = self.into.sample.add(location_id=ids, value=value)
        if sample.comm:
            message.label.add(key=self.text("comm"), str=self.text(sample.comm))
        for key, number in (("pid", sample.pid), ("tid", sample.tid)):
            if number:
                message.label.add(key=self.text(key), num=number)

    def _stack(self, stack: tuple[Frame, ...]) -> Iterator[int]:
        """Locations, the innermost first; inlined functions are lines of the location of the
        function they are in."""
        single = self.single
        lines: list[Frame] = []
        for frame in reversed(stack):
            number = None if lines else single.get(id(frame))
            if number is not None:
                yield number
                continue
            lines.append(frame)
            if not frame.inlined:
                yield self._location(lines)
                lines = []
        if lines:
            yield self._location(lines)

    def _location(self, lines: list[Frame]) -> int:
        key = tuple(lines)
        number = self.locations.get(key)
        if number is None:
            number = self.locations[key] = len(self.locations) + 1
            self._add_location(number, lines)
        if len(lines) == 1 and not lines[0].inlined:
            self.single[id(lines[0])] = number
        return number

    def _add_location(self, number: int, lines: list[Frame]) -> None:
        frame = lines[-1]
        location = self.into.location.add(id=number, address=frame.address)
        module = frame.module or ("[kernel]" if frame.kind == "kernel" else "")
        mapping = self.mapping(module) if module else None
        if mapping is not None:
            location.mapping_id = mapping.id
            start = frame.address // PAGE * PAGE
            if mapping.memory_limit == 0 or start < mapping.memory_start:
                mapping.memory_start = start
            # The last page has no page behind it.
            limit = min(start + PAGE, (1 << 64) - 1)
            mapping.memory_limit = max(mapping.memory_limit, limit)
        for line in lines:
            location.line.add(function_id=self.function(line), line=line.line)
            if mapping is not None:
                mapping.has_functions = True
                mapping.has_filenames |= bool(line.file)
                mapping.has_line_numbers |= bool(line.line)
                mapping.has_inline_frames |= line.inlined

    def mapping(self, module: str) -> Any:
        mapping = self.mappings.get(module)
        if mapping is None:
            mapping = self.mappings[module] = self.into.mapping.add(
                id=len(self.mappings) + 1,
                filename=self.text(module),
                build_id=self.text(self.profile.build_ids.get(module, "")),
            )
        return mapping

    def function(self, frame: Frame) -> int:
        name = labels.text(frame.text)
        key = (name, frame.file)
        number = self.functions.get(key)
        if number is None:
            number = self.functions[key] = len(self.functions) + 1
            text = self.text(name)
            self.into.function.add(
                id=number, name=text, system_name=text, filename=self.text(frame.file)
            )
        return number

    def _comments(self) -> None:
        profile = self.profile
        lines = [TITLE + profile.title] if profile.title else []
        lines += [TARGET + profile.target] if profile.target else []
        lines += [f"{MISSED}{count} {why}" for why, count in profile.missed.items()]
        self.into.comment.extend(map(self.text, lines))

    def text(self, text: str) -> int:
        """Its number in the table of strings, which hold no control characters."""
        number = self.strings.get(text)
        if number is None:
            cleaned = printable(text)
            number = self.strings.setdefault(cleaned, len(self.strings))
        return number
