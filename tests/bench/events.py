# SPDX-License-Identifier: Apache-2.0
"""Records per second from a tight producer on one CPU to a consumer on another one.

Everything but the producer runs on CPU 1: for ours that is the daemon, gRPC at both ends
and the client that decodes every record into typed columns.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bpfctl.objects import LoadedObject

from tests.bench import processes, result
from tests.bench.processes import Helper, Missing
from tests.kernel.conftest import RunningDaemon

SECONDS = 1.0
ROUNDS = 5
GROUP = 32
"""Records that the producer writes between two looks at the clock."""


@dataclass(frozen=True)
class Run:
    """One consumer and one second of records."""

    rate: float
    """Records per second that arrived, until the last one arrived."""
    produced: float
    """Records per second that the producer made."""
    lost: float
    """Share of the records that did not arrive."""


@dataclass(frozen=True)
class Consumer:
    """How to start one, and how to tell it that no more records come."""

    name: str
    start: Callable[[RunningDaemon, LoadedObject], Helper]
    ends_with_object: bool = False


def _ours(running: RunningDaemon, loaded: LoadedObject) -> Helper:
    return processes.python("client_consumer.py", str(running.socket), f"{loaded.name}/ring")


def consumers() -> tuple[list[Consumer], list[str]]:
    """Those that can be measured here, and why others cannot."""
    found, missing = [Consumer("bpfd", _ours, ends_with_object=True)], []
    try:
        program = processes.build_c("consumer")
        found.append(
            Consumer("C libbpf", lambda _, loaded: Helper(program, str(loaded.maps["ring"].id)))
        )
    except Missing as why:
        missing.append(f"C libbpf consumer: {why}")
    try:
        processes.system_python_has("bcc")
        script = processes.HERE / "bcc_consumer.py"
        found.append(
            Consumer(
                "bcc callback",
                lambda _, loaded: Helper(
                    processes.SYSTEM_PYTHON, script, str(loaded.maps["ring"].id)
                ),
            )
        )
    except Missing as why:
        missing.append(f"bcc callback: {why}")
    return found, missing


class Bench:
    """Rounds with one daemon."""

    def __init__(self, running: RunningDaemon, elf: bytes) -> None:
        self._running = running
        self._elf = elf

    def run(self, consumer: Consumer, interval: int, seconds: float = SECONDS) -> Run:
        """`interval` is what GROUP records take at least, in nanoseconds."""
        with (
            processes.connect(self._running) as target,
            target.session("bench") as session,
            target.load(self._elf, "bench", session=session) as loaded,
        ):
            helper = consumer.start(self._running, loaded)
            helper.wait_ready()
            program = str(loaded.programs["produce"].id)
            producer = processes.python("produce.py", program, str(seconds), str(interval))
            times = producer.result()
            made = int(loaded.map(".bss").get(0)["made"])
            if consumer.ends_with_object:
                loaded.unload()
            else:
                helper.terminate()
            found = helper.result()
        if "lost" in found and found["received"] + found["lost"] != made:
            raise RuntimeError(f"of {made} records, {found} is all that is known")
        return Run(
            rate=found["received"] / (found["end"] - times["begin"]),
            produced=made / (times["end"] - times["begin"]),
            lost=1 - found["received"] / made,
        )

    def highest_without_loss(self, consumer: Consumer, unpaced: Run) -> float:
        """The highest rate of the producer at which everything arrived."""
        if not unpaced.lost:
            return unpaced.produced
        # What arrives of too much is more or less than what arrives of just enough.
        low, high = 0.0, 2 * unpaced.rate
        best = 0.0
        for _ in range(7):
            rate = (low + high) / 2
            # Something else on the machine may disturb one run: a rate has two chances.
            for _ in range(2):
                run = self.run(consumer, int(GROUP / rate * 1e9), 0.5)
                if not run.lost:
                    break
            if run.lost:
                high = rate
            else:
                low, best = rate, max(best, run.produced)
        return best


def measure() -> tuple[list[result.Row], list[str]]:
    """The rows, and what could not be measured."""
    elf = processes.build_bpf("producer")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {1})
    try:
        with processes.daemon() as running:
            return _measure(Bench(running, elf))
    finally:
        os.sched_setaffinity(0, before)


def _measure(bench: Bench) -> tuple[list[result.Row], list[str]]:
    found, missing = consumers()
    ours, *peers = found
    unpaced: dict[str, list[Run]] = {each.name: [] for each in found}
    for _ in range(ROUNDS):
        for consumer in found:
            run = bench.run(consumer, 0)
            unpaced[consumer.name].append(run)
            print(f"  {consumer.name:14} {run.rate / 1e6:6.2f} M/s, {run.lost:.2%} lost")
    lossless = {
        each.name: [bench.highest_without_loss(each, run) for run in unpaced[each.name][:3]]
        for each in found
    }
    rows = []
    for peer in peers:
        name = "events, tight producer: delivered"
        rows.append(_row(name, unpaced[ours.name], unpaced[peer.name], peer.name))
        rows.append(
            result.compare(
                "events, highest pace without loss",
                "M/s",
                [rate / 1e6 for rate in lossless[ours.name]],
                [rate / 1e6 for rate in lossless[peer.name]],
                peer.name,
                more_is_better=True,
                ours_lost=0,
                peer_lost=0,
            )
        )
    return rows, missing


def _row(name: str, ours: list[Run], peer: list[Run], peer_name: str) -> result.Row:
    return result.compare(
        name,
        "M/s",
        [run.rate / 1e6 for run in ours],
        [run.rate / 1e6 for run in peer],
        peer_name,
        more_is_better=True,
        ours_lost=statistics.median(run.lost for run in ours),
        peer_lost=statistics.median(run.lost for run in peer),
    )
