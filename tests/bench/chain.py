# SPDX-License-Identifier: Apache-2.0
"""What a chain of XDP programs costs: each packet, and each change.

The packet's cost is that of BPF_PROG_TEST_RUN, whose own share is in all of them alike (and is
nearly the whole of the single program's, whose work is two instructions). All three are on
interfaces meanwhile: else the kernel calls them otherwise than for packets, and every call
waits for a grace period. The peer is a chain of programs that cooperate by tail calls; libxdp's
dispatcher needs freplace, which not every kernel has.
"""

from __future__ import annotations

import os
import statistics
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from bpfd import attach
from bpfd.attach.attachment import Attachment, Program
from bpfd.kernel import elf_object, syscall
from bpfd.kernel.constants import Cmd
from bpfd.kernel.info import link_info
from bpfd.kernel.load_options import Loaded, LoadOptions
from bpfd.v1 import attach_pb2
from tests.bench import processes, result
from tests.kernel.hooks_support import Pair, veth_pair, xdp

LENGTHS = (1, 2, 5, 10)
ROUNDS = 9
TRIES = 25
"""Of a round the best one counts: whoever else runs on the CPU can only add to it."""

REPEAT = 20_000
CHANGES = 9


def measure() -> tuple[list[result.Row], list[str]]:
    """The rows; nothing can be missing."""
    processes.build_bpf("chain")
    elf = (processes.BUILD / "chain.bpf.o").read_bytes()
    with ExitStack() as stack:
        loaded = elf_object.load("bench", elf, LoadOptions())
        stack.callback(loaded.close)
        pair, spare = (stack.enter_context(veth_pair()) for _ in range(2))
        return [*_packets(loaded, pair, spare), *_changes(loaded, pair)], []


def _program(loaded: Loaded, name: str) -> Program:
    found = loaded.programs[name]
    return Program(found.fd, found.id, name, found.type, found.expected_attach_type)


def _point(pair: Pair, priority: int) -> attach_pb2.AttachPoint:
    point = xdp(pair)
    point.xdp.priority = priority
    return point


@contextmanager
def _chain(loaded: Loaded, pair: Pair, length: int) -> Iterator[list[Attachment]]:
    """A chain of so many members on the interface."""
    member = _program(loaded, "member")
    attached = [attach.attach(member, _point(pair, index + 1)) for index in range(length)]
    try:
        yield attached
    finally:
        for each in reversed(attached):
            each.close()


def _ns(fd: int) -> float:
    """Nanoseconds of one run."""
    before = time.perf_counter_ns()
    syscall.prog_test_run(fd, bytes(64), repeat=REPEAT)
    return (time.perf_counter_ns() - before) / REPEAT


def _cooperating(loaded: Loaded, length: int) -> None:
    """Links so many programs by tail calls."""
    turns = loaded.maps["turns"].fd
    for index in range(1, max(LENGTHS)):
        key = struct.pack("=I", index)
        if index < length:
            fd = loaded.programs[f"cooperates{index}"].fd
            syscall.map_update_elem(turns, key, struct.pack("=I", fd))


def _packets(loaded: Loaded, pair: Pair, spare: Pair) -> Iterator[result.Row]:
    far = xdp(spare)
    far.xdp.interface.name, far.xdp.interface.netns.name = "hk1", spare.far
    single, first = _program(loaded, "member"), _program(loaded, "cooperates0")
    others = [attach.attach(single, xdp(spare)), attach.attach(first, far)]
    try:
        for length in LENGTHS:
            _cooperating(loaded, length)
            with _chain(loaded, pair, length) as attached:
                number = link_info(attached[0].fds[0]).prog_id
                composed = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, number)
                try:
                    rounds = [_round((composed, single.fd, first.fd)) for _ in range(ROUNDS)]
                finally:
                    os.close(composed)
            yield from _rows(length, *map(list, zip(*rounds, strict=True)))
    finally:
        for each in others:
            each.close()


def _round(fds: Sequence[int]) -> list[float]:
    """The best of some tries of each, one after the other."""
    tries = [[_ns(fd) for fd in fds] for _ in range(TRIES)]
    return [min(each) for each in zip(*tries, strict=True)]


def _rows(
    length: int, ours: list[float], alone: list[float], calls: list[float]
) -> Iterator[result.Row]:
    name = f"XDP chain of {length}: a packet"
    more = (statistics.median(ours) - statistics.median(alone)) / length
    yield result.compare(
        *(name, "ns", ours, alone, "one program alone"),
        more_is_better=False,
        note=f"{more:+.1f} ns for each member",
    )
    yield result.compare(name, "ns", ours, calls, "tail calls", more_is_better=False)


def _exchange(attachment: Attachment, program: Program) -> float:
    """Milliseconds."""
    before = time.perf_counter()
    attachment.update(program)
    return (time.perf_counter() - before) * 1000


def _changes(loaded: Loaded, pair: Pair) -> Iterator[result.Row]:
    """Exchanging a program in a chain of ten, and in a link that it has alone."""
    programs = [_program(loaded, name) for name in ("cooperates8", "cooperates9")]
    ours, alone = [], []
    with _chain(loaded, pair, 10) as attached:
        for turn in range(CHANGES):
            ours.append(_exchange(attached[4], programs[turn % 2]))
    single = attach.attach(_program(loaded, "member"), xdp(pair))
    for turn in range(CHANGES):
        alone.append(_exchange(single, programs[turn % 2]))
    single.close()
    yield result.compare(
        "XDP chain of 10: exchange of a program",
        "ms",
        ours,
        alone,
        "a link with one program",
        more_is_better=False,
        note="BPF_LINK_UPDATE waits for packets in flight",
    )
