# SPDX-License-Identifier: Apache-2.0
"""A trace on a target: built, loaded, attached, read; all of it ends with its session."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfctl.errors import BpfctlError, InvalidArgument, NotFound

from . import generate
from .program import Probe, Wanted
from .rows import TraceReader
from .subject import Subject, supported

if TYPE_CHECKING:
    from bpfctl.build import Built, TargetFacts
    from bpfctl.events import EventStream
    from bpfctl.histograms import Histogram
    from bpfctl.objects import LoadedObject
    from bpfctl.sessions import Session
    from bpfctl.symbols import Process, Symbolizer
    from bpfctl.target import Target
    from bpfd.v1 import attach_pb2, files_pb2

_SAME = 100
"""Traces of one target at the same time."""

_SOURCES = 200
"""Generated sources that are kept."""


class Trace:
    """One trace. `build`, then `start` in a session, then read `events`, `counts` or
    `histogram`."""

    def __init__(self, target: Target, subject: Subject, wanted: Wanted, title: str) -> None:
        """Generates the program; raises TraceError."""
        self.target = target
        self.subject = subject
        self.wanted = wanted
        self.generated = generate.source(subject.probe, wanted, title)
        self.links = 0
        self.methods: list[str] = []
        self._loaded: LoadedObject | None = None
        self._symbolizer: Symbolizer | None = None
        self._processes: dict[int, Process | None] = {}
        self._binary: files_pb2.FileStat | None = None

    @property
    def probe(self) -> Probe:
        return self.subject.probe

    @property
    def loaded(self) -> LoadedObject:
        assert self._loaded is not None, "not started"
        return self._loaded

    def build(self, facts: TargetFacts) -> Built:
        """Compile it for the target, or take it from the cache; raises BuildError."""
        from bpfctl.build import BuildOptions, build

        has = supported(self.target)
        defines = {} if "map ringbuf" in has else {"EVENTS_BY_PERF_BUFFER": "1"}
        cpu = "v3" if "instructions v3" in has else "v2"
        options = BuildOptions(cpu=cpu, defines=defines)
        path = _written(self.generated.source)
        self.built = build(path, facts, self.target.btf.kernel_bytes, options=options)
        return self.built

    def start(self, session: Session) -> None:
        """Load and attach it.

        Raises what loading and attaching raise; nothing is left then, as the session's end
        takes all of it away.
        """
        self._binary = self._look()
        self._loaded = self._load(session)
        # Returns first: that of a call that nobody saw begin is passed over.
        for program in reversed(self.generated.programs):
            self._attach(program, program == "on_return")

    def _load(self, session: Session) -> LoadedObject:
        names = ["trace", *(f"trace-{number}" for number in range(2, _SAME))]
        for name in names:
            try:
                return self.target.load(self.built.object, name, session=session)
            except InvalidArgument as error:
                if error.field != "name":
                    raise
        raise InvalidArgument("name", f"{_SAME} traces run there already")

    def _attach(self, program: str, ret: bool) -> None:
        for point in points(self.subject, ret, self.wanted.pid):
            link = self.loaded.attach(program, point)
            self.links += 1
            if link.method and link.method not in self.methods:
                self.methods.append(link.method)

    # What comes of it

    def events(self) -> tuple[EventStream, TraceReader]:
        """The stream of events and the reader of its batches."""
        from bpfctl.records import reader

        ring = self.loaded.map("events")
        lost = f"{self.loaded.name}/events_lost"
        stream = self.target.events(
            ring.ref, lost_map=lost if "events_lost" in self.loaded.maps else None
        )
        codec = reader(ring, "event").codec
        assert codec is not None
        resolve = self._resolve if self.wanted.stack else None
        order: Any = "big" if self.target.info().big_endian else "little"
        return stream, TraceReader(codec, order, self.probe.functions, resolve)

    def counts(self) -> list[tuple[str, int]]:
        """(what was hit, how often), the most frequent first; without those that were not."""
        rows = self.loaded.map("hits").rows()
        found = [(self.probe.functions[row["key"]], row["value"]) for row in rows]
        return sorted((each for each in found if each[1]), key=lambda each: (-each[1], each[0]))

    def histogram(self) -> Histogram | None:
        """What was counted by value; None: nothing."""
        from bpfctl.histograms import from_rows

        unit = "ns" if self.wanted.histogram.strip() == "duration" else ""
        rows = self.loaded.map("histogram").rows()
        found = from_rows(rows, unit=unit, step=self.wanted.step)
        return found[0] if found else None

    def negative(self) -> int:
        """Values of the histogram that were below 0, which have no slot."""
        return sum(row["value"] for row in self.loaded.map("negative").rows())

    def missed(self) -> int:
        """Hits that the kernel did not run the programs for, as one ran already there."""
        found = 0
        for program in self.generated.programs:
            found += self.target.program(
                self.loaded.program(program), owners=False
            ).recursion_misses
        return found

    def replaced(self) -> bool:
        """Whether another file is now at the path of the binary that is traced."""
        if self._binary is None:
            return False
        now = self._look()
        return now is None or (now.inode, now.device, now.build_id) != (
            self._binary.inode,
            self._binary.device,
            self._binary.build_id,
        )

    def _look(self) -> files_pb2.FileStat | None:
        if not self.subject.binary.startswith("/"):
            return None
        try:
            return self.target.files.stat(self.subject.binary)
        except BpfctlError:
            return None

    def _resolve(self, side: str, pid: int, addresses: Sequence[int]) -> list[str]:
        from bpfctl.symbols import Symbolizer

        if self._symbolizer is None:
            self._symbolizer = Symbolizer(self.target)
        if side == "kernel":
            frames = self._symbolizer.kernel_stack(addresses)
        else:
            if pid not in self._processes:
                self._processes[pid] = self._symbolizer.snapshot([pid]).get(pid)
            process = self._processes[pid]
            if process is None:
                # It has ended before anyone looked at its mappings.
                return [f"{address:#x}" for address in addresses]
            frames = self._symbolizer.user_stack(process, addresses)
        return [each.text + (f" ({each.place})" if each.place else "") for each in frames]


def alive(target: Target, pid: int) -> bool:
    """Whether a process of the target has not ended."""
    from bpfd.v1 import target_pb2

    request = target_pb2.ListProcessesRequest(pids=[pid])
    try:
        with target.rpc.stream(
            target.rpc.target.ListProcesses, request, "Target.ListProcesses"
        ) as stream:
            return any(chunk.processes for chunk in stream)
    except NotFound:
        return False


def points(subject: Subject, ret: bool, pid: int) -> list[attach_pb2.AttachPoint]:
    """Where the program for the call, or for the return, goes. Pure."""
    from bpfd.v1 import attach_pb2 as pb

    probe = subject.probe
    names = probe.functions
    several = len(names) > 1
    if probe.hook == "fentry":
        return [pb.AttachPoint(tracing=pb.Tracing())]
    if probe.hook == "raw_tp":
        return [pb.AttachPoint(raw_tracepoint=pb.RawTracepoint(name=names[0]))]
    if probe.hook == "kprobe.multi":
        cookies = range(len(names)) if several else ()
        multi = pb.KprobeMulti(functions=names, cookies=cookies, ret=ret)
        return [pb.AttachPoint(kprobe_multi=multi)]
    if probe.hook == "uprobe.multi":
        every = pb.UprobeMulti(
            binary=subject.binary, functions=names, cookies=range(len(names)), ret=ret, pid=pid
        )
        return [pb.AttachPoint(uprobe_multi=every)]
    if probe.hook == "uprobe":
        one = pb.Uprobe(binary=subject.binary, function=names[0], ret=ret, pid=pid)
        return [pb.AttachPoint(uprobe=one)]
    if probe.hook == "kprobe":
        return [
            pb.AttachPoint(kprobe=pb.Kprobe(function=name, ret=ret, cookie=index))
            for index, name in enumerate(names)
        ]
    return [
        pb.AttachPoint(
            tracepoint=pb.Tracepoint(
                category=category, name=name.rpartition(":")[2], cookie=index
            )
        )
        for index, (category, name) in enumerate(zip(subject.categories, names, strict=True))
    ]


def _written(source: str) -> Path:
    """The source as a file of the cache, called by its content: the same one for all time."""
    from bpfctl.compiler import cache

    folder = cache.folder() / "trace"
    path = folder / f"{hashlib.sha256(source.encode()).hexdigest()[:16]}.bpf.c"
    if not path.exists():
        cache.write(path, source.encode())
        cache.prune(folder, _SOURCES)
    return path
