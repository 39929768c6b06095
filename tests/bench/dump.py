# SPDX-License-Identifier: Apache-2.0
"""A dump of a hash map with a million entries."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable

from bpfctl.objects import LoadedObject
from bpfctl.target import Target

from bpfd.v1 import maps_pb2
from tests.bench import processes, result
from tests.bench.processes import Missing

ENTRIES = 1_000_000
ROUNDS = 5


def _fill(target: Target, loaded: LoadedObject) -> None:
    keys = b"".join(struct.pack("=QII", number, number, 6) for number in range(ENTRIES))
    values = b"".join(struct.pack("=QQ", number, number * 3) for number in range(ENTRIES))
    half = ENTRIES // 2 * 16
    for part in (slice(0, half), slice(half, None)):
        target.rpc.maps.Update(
            maps_pb2.UpdateRequest(
                map=loaded.map("flows").ref, keys=keys[part], values=values[part]
            )
        )


def _seconds(work: Callable[[], int]) -> float:
    before = time.perf_counter()
    found = work()
    took = time.perf_counter() - before
    if found != ENTRIES:
        raise RuntimeError(f"{found} of {ENTRIES} entries")
    return took


class _Ways:
    """The ways to read the map; each returns how many entries it saw."""

    def __init__(self, loaded: LoadedObject, socket: str) -> None:
        self.map = loaded.map("flows")
        self._socket = socket
        self._name = f"{loaded.name}/flows"

    def arrays(self) -> int:
        """Typed columns, in the client's process; every value is used."""
        packets = total = entries = 0
        for keys, values in self.map.arrays():
            entries += len(keys)
            packets += int(values["packets"].sum())
            total += int(values["bytes"].sum())
        if total != 3 * packets:
            raise RuntimeError("the values are wrong")
        return entries

    def rows(self) -> int:
        """A Python dictionary for each entry."""
        return sum(1 for _ in self.map.rows())

    def raw(self) -> int:
        """Bytes as they come."""
        return sum(chunk.count for chunk in self.map.chunks())

    def command(self) -> int:
        """The command line, as JSON lines, with its start."""
        command = [sys.executable, "-m", "bpfctl", "-t", f"unix:{self._socket}"]
        return _lines([*command, "-o", "jsonl", "map", "dump", self._name])

    def bpftool(self) -> int:
        """bpftool's JSON."""
        with open(os.devnull, "wb") as null:
            command = ["bpftool", "map", "dump", "-j", "id", str(self.map.info.id)]
            subprocess.run(command, check=True, stdout=null)
        return ENTRIES


def _lines(command: list[str]) -> int:
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        count = 0
        while block := process.stdout.read(1 << 20):
            count += block.count(b"\n")
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return count


def measure() -> tuple[list[result.Row], list[str]]:
    """The rows, and what could not be measured."""
    missing = []
    elf = processes.build_bpf("map")
    try:
        batches = str(processes.build_c("batches"))
    except Missing as why:
        batches = ""
        missing.append(f"raw batch system calls in C: {why}")
    took: dict[str, list[float]] = {}
    with (
        processes.daemon() as running,
        processes.connect(running) as target,
        target.session("bench") as session,
        target.load(elf, "bench", session=session) as loaded,
    ):
        _fill(target, loaded)
        ways = _Ways(loaded, str(running.socket))
        for _ in range(ROUNDS):
            for way in (ways.arrays, ways.bpftool, ways.raw, ways.rows, ways.command):
                took.setdefault(way.__name__, []).append(_seconds(way))
            if batches:
                command = [batches, str(ways.map.info.id), "16", "16"]
                out = subprocess.run(command, check=True, capture_output=True).stdout
                took.setdefault("batches", []).append(json.loads(out)["seconds"])
    peer = "bpftool map dump -j"
    rows = [
        result.compare(name, "s", took[way], took["bpftool"], peer, more_is_better=False)
        for name, way in (
            ("dump of 1,000,000 entries: typed columns", "arrays"),
            ("dump of 1,000,000 entries: a dict for each", "rows"),
            ("dump of 1,000,000 entries: bpfctl -o jsonl", "command"),
        )
    ]
    rows.append(
        result.compare(
            "dump of 1,000,000 entries: raw bytes",
            "s",
            took["raw"],
            took.get("batches"),
            "raw batch system calls in C",
            more_is_better=False,
        )
    )
    return rows, missing
