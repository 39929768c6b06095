# SPDX-License-Identifier: Apache-2.0
"""pprof's files, as written by `bpfctl.profiles.pprof` and by others."""

from __future__ import annotations

import gzip
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

from bpfctl.errors import InvalidArgument
from bpfctl.profiles.model import Frame, Profile, Sample
from bpfctl.profiles.pprof import MISSED, TARGET, TITLE

MAX_BYTES = 1 << 30
"""Of a file once it is decompressed: a small file must not take all memory."""

_USER = (
    "[jit]",
    "[vdso]",
    "[vsyscall]",
    "[anonymous]",
    "[unknown]",
    "[heap]",
    "[stack]",
    "[anon",
)


def read(data: bytes) -> Profile:
    """The profile of a file, compressed or not; InvalidArgument when it is none.

    Of several types of values the samples are taken where there are any, else the default
    one, which is the last where the file names none.
    """
    from google.protobuf.message import DecodeError

    from bpfctl.profiles.pprof_messages import Profile as Message

    try:
        message = Message.FromString(_decompressed(data))
        return _Reader(message).profile()
    except DecodeError as error:
        raise InvalidArgument("profile", "is no pprof file") from error
    except (IndexError, KeyError, OverflowError) as error:
        raise InvalidArgument("profile", f"refers to what it does not have: {error}") from error


def _decompressed(data: bytes) -> bytes:
    if data[:2] != b"\x1f\x8b":
        return data
    import io

    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            found = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidArgument("profile", f"is no whole gzip file: {error}") from error
    if len(found) > MAX_BYTES:
        raise InvalidArgument("profile", f"has more than {MAX_BYTES >> 20} MiB, decompressed")
    return found


class _Reader:
    def __init__(self, message: Any) -> None:
        self.message = message
        self.strings = list(message.string_table)
        if not message.sample_type or not self.strings:
            raise InvalidArgument("profile", "is no pprof file: it says not what it counts")
        self.modules = {each.id: self.text(each.filename) for each in message.mapping}
        self.functions = {
            each.id: (self.text(each.name), self.text(each.filename))
            for each in message.function
        }

    def text(self, number: int) -> str:
        if number < 0:
            raise IndexError(f"string {number}")
        return str(self.strings[number])

    def profile(self) -> Profile:
        message = self.message
        column, unit, period = self._column()
        self.locations = {each.id: self._frames(each) for each in message.location}
        comments = [self.text(number) for number in message.comment]
        started = None
        if message.time_nanos:
            started = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
                microseconds=message.time_nanos // 1000
            )
        return Profile(
            samples=[self._sample(each, column) for each in message.sample],
            unit=unit,
            period=period,
            duration_s=message.duration_nanos / 1e9,
            started=started,
            missed=dict(
                _missed(line[len(MISSED) :]) for line in comments if line.startswith(MISSED)
            ),
            target=_said(comments, TARGET),
            title=_said(comments, TITLE),
            build_ids={
                self.text(each.filename): self.text(each.build_id)
                for each in message.mapping
                if each.build_id
            },
        )

    def _column(self) -> tuple[int, str, int]:
        """Which value is taken, its unit, and the period."""
        message = self.message
        types = [(self.text(each.type), self.text(each.unit)) for each in message.sample_type]
        if ("samples", "count") in types:
            nanoseconds = self.text(message.period_type.unit) == "nanoseconds"
            period = message.period if nanoseconds else 0
            return types.index(("samples", "count")), "samples", period
        default = self.text(message.default_sample_type)
        names = [name for name, _ in types]
        column = names.index(default) if default in names else len(types) - 1
        name, unit = types[column]
        return column, name if unit in ("count", "") else unit, message.period

    def _frames(self, location: Any) -> tuple[Frame, ...]:
        """The outermost first."""
        if location.mapping_id and location.mapping_id not in self.modules:
            raise KeyError(f"mapping {location.mapping_id}")
        module = self.modules.get(location.mapping_id, "")
        kind = "kernel" if _kernel(module) else "user"
        found = []
        for at, line in enumerate(location.line):
            name, file = self.functions[line.function_id]
            found.append(
                Frame(
                    name,
                    module,
                    file,
                    max(line.line, 0),
                    location.address,
                    inlined=at < len(location.line) - 1,
                    kind=kind,
                )
            )
        if not found:
            found = [Frame("", module, address=location.address, kind=kind)]
        return tuple(reversed(found))

    def _sample(self, sample: Any, column: int) -> Sample:
        stack: list[Frame] = []
        for number in reversed(sample.location_id):
            stack += self.locations[number]
        named = {self.text(each.key): each for each in sample.label}
        comm = self.text(named["comm"].str) if "comm" in named else ""
        pid, tid = (named[key].num if key in named else 0 for key in ("pid", "tid"))
        return Sample(tuple(stack), sample.value[column], pid, tid, comm)


def _kernel(module: str) -> bool:
    """Whether a mapping is of the kernel or of one of its modules: [kernel], [nf_tables]."""
    return module.startswith("[") and not module.startswith(_USER)


def _said(comments: list[str], what: str) -> str:
    return next((line[len(what) :] for line in comments if line.startswith(what)), "")


def _missed(text: str) -> tuple[str, int]:
    count, _, why = text.partition(" ")
    return (why, int(count)) if count.isdecimal() else (text, 1)
