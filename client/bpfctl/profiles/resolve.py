# SPDX-License-Identifier: Apache-2.0
"""From what was counted to a profile with names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bpfctl.profiles.model import Profile, Sample
from bpfctl.symbols.frame import UNKNOWN, Frame

if TYPE_CHECKING:
    from bpfctl.profiles.collect import Collector
    from bpfctl.profiles.counted import Addresses, Counted, Key
    from bpfctl.profiles.processes import Processes
    from bpfctl.profiles.wish import Per
    from bpfctl.symbols.process import Process

_ENTRY = ("__traceiter_", "bpf_trace_run", "bpf_prog_", "trace_call_bpf", "__bpf_trace_")
"""Functions of the tracepoint itself, innermost in stacks that a program of it took."""

RUNNABLE = Frame(name="[waiting for a CPU]", kind="kernel")
NO_STACK = Frame(name="[no stack]", kind="kernel")
UNREAD = Frame(name="[stack was not kept]", kind="kernel")
CUT = Frame(name="[more than 127 frames]", kind="user")

DEPTH = 127
"""STACK_DEPTH of bpf/include/bpfd/stacks.h."""


class Symbols(Protocol):
    """What is needed of `bpfctl.symbols.Symbolizer`, which remembers what it looked up.

    Frames are the innermost first, as addresses are.
    """

    def kernel_stack(self, addresses: Sequence[int]) -> tuple[Frame, ...]:
        """Frames of a stack of the kernel."""
        ...

    def user_stack(self, process: Process, addresses: Sequence[int]) -> tuple[Frame, ...]:
        """Frames of a stack of user space, as `process` mapped its files."""
        ...


@dataclass
class Resolver:
    """Names of stacks; each stack is looked up once."""

    symbols: Symbols
    processes: Processes
    off_cpu: bool = False
    _kernel: dict[int, list[Frame]] = field(default_factory=dict)
    _user: dict[tuple[int, int, int], list[Frame]] = field(default_factory=dict)

    def stack(self, key: Key, stacks: Mapping[int, Addresses]) -> tuple[Frame, ...]:
        """The frames of a sum, the root first."""
        outward: list[Frame] = []
        if key.state == "RUNNABLE":
            outward.append(RUNNABLE)
        kernel, user = stacks.get(key.kernel, ()), stacks.get(key.user, ())
        if kernel:
            outward += self._of_kernel(key.kernel, kernel)
        if user:
            outward += self._of_user(key, user)
        if (key.kernel and not kernel) or (key.user and not user):
            outward.append(UNREAD)
        elif len(user) == DEPTH:
            outward.append(CUT)
        return tuple(reversed(outward)) or (NO_STACK,)

    def _of_kernel(self, number: int, addresses: Addresses) -> list[Frame]:
        if number not in self._kernel:
            found = list(self.symbols.kernel_stack(addresses))
            self._kernel[number] = without_entry(found) if self.off_cpu else found
        return self._kernel[number]

    def _of_user(self, key: Key, addresses: Addresses) -> list[Frame]:
        place = (key.pid, key.mappings, key.user)
        if place not in self._user:
            process = self.processes.snapshot(key.pid, key.mappings)
            self._user[place] = (
                list(self.symbols.user_stack(process, addresses))
                if process is not None
                else [Frame("", UNKNOWN, address=address) for address in addresses]
            )
        return self._user[place]


def without_entry(frames: Sequence[Frame]) -> list[Frame]:
    """A kernel stack, innermost first, without what the tracepoint added to it."""
    last = -1
    for at, frame in enumerate(frames[:12]):
        if frame.name.startswith(_ENTRY) or frame.module == "[bpf]":
            last = at
    return list(frames[last + 1 :])


def profile(
    counted: Counted, resolver: Resolver, *, per: Per, off_cpu: bool
) -> tuple[Sample, ...]:
    """Samples with names, the heaviest first; those that are alike in all are one."""
    values: dict[tuple[tuple[Frame, ...], int, int, str], int] = {}
    for key, each in counted.sums.items():
        pid = 0 if per == "comm" else key.pid
        stack = resolver.stack(key, counted.stacks)
        place = (stack, pid, key.tid, key.comm)
        values[place] = values.get(place, 0) + (each.ns if off_cpu else each.count)
    heaviest = sorted(values.items(), key=lambda item: (-item[1], item[0][1:]))
    return tuple(
        Sample(stack=stack, value=value, pid=pid, tid=tid, comm=comm)
        for (stack, pid, tid, comm), value in heaviest
    )


def finished(collector: Collector, symbols: Symbols) -> Profile:
    """The profile of a collector that was stopped."""
    wish = collector.wish
    resolver = Resolver(symbols, collector.processes, wish.off_cpu)
    samples = profile(collector.counted, resolver, per=wish.per, off_cpu=wish.off_cpu)
    return Profile(
        samples=list(samples),
        unit="nanoseconds" if wish.off_cpu else "samples",
        period=1 if wish.off_cpu else 1_000_000_000 // wish.frequency,
        duration_s=collector.seconds,
        started=collector.started,
        missed=dict(collector.missed),
        target=collector.target.name,
        title=title(collector),
    )


def title(collector: Collector) -> str:
    """What the profile is of, in half a sentence."""
    wish = collector.wish
    what = "Off-CPU time" if wish.off_cpu else f"CPU samples, {wish.frequency} Hz"
    filters: Collection[str] = [
        *(f"process {pid}" for pid in wish.pids[:3]),
        *(["..."] if len(wish.pids) > 3 else []),
        *([f"cgroup {wish.cgroup}"] if wish.cgroup else []),
        *([wish.comm] if wish.comm else []),
    ]
    event = f" ({collector.event})" if collector.event else ""
    return f"{what}{event} of {', '.join(filters) or collector.target.name}"
