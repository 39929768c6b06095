# SPDX-License-Identifier: Apache-2.0
"""What the steps of a run share: the places, the daemon, `bpfctl`, and what was counted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import bpfctl
from bpfctl.btf import Kind

from tests.demo import console, network
from tests.demo.network import Network
from tests.demo.outcome import Deviation, Outcome, expect
from tests.demo.processes import Bpfctl, Daemon


class Stage:
    """A target and the world, and everything that a step needs of them."""

    def __init__(self, folder: Path, cleaning: ExitStack) -> None:
        """`folder`: for all files of the run; `cleaning`: takes away what is made."""
        self.outcome = Outcome()
        self.folder = folder
        self.bpffs = Path("/sys/fs/bpf", folder.name)
        self.place = Network()
        self.bpfctl = Bpfctl(folder)
        self.cleaning = cleaning
        self.seen: set[tuple[str, int]] = set()
        """Kinds and ids of what the run has loaded and attached."""

    def set(self) -> None:
        """Two network namespaces, and the daemon in one."""
        console.heading("1. A target and the world: two network namespaces and a wire")
        self.cleaning.callback(shutil.rmtree, self.bpffs, ignore_errors=True)
        self.cleaning.callback(self.place.remove)
        self.place.make()
        console.say(f"world   {self.place.world}: {network.ALLOWED}, {network.BLOCKED}")
        console.say(f"target  {self.place.target}: {network.TARGET}, {network.TARGET6}")
        self.daemon = Daemon(self.place, self.folder, self.bpffs)
        self.cleaning.callback(self.daemon.close)
        console.say(f"the daemon is ready, process {self.daemon.pid}")

    def note(self) -> None:
        """Remember the kernel's ids of what the run has loaded and attached."""
        with bpfctl.connect(f"unix:{self.daemon.socket}") as target:
            for held in target.objects():
                self.seen |= {("program", entry.id) for entry in held.message.programs}
                self.seen |= {("map", entry.id) for entry in held.message.maps}
            for link in target.links():
                self.seen |= {("link", number) for number in link.link_ids}

    def counters(self) -> Counter[str]:
        """Packets by reason; those with none are left out."""
        return self._rows("ddos/counters", "reason")

    def versions(self) -> Counter[str]:
        return self._rows("ddos/versions", "version")

    def _rows(self, name: str, enum: str) -> Counter[str]:
        """Packets by key of a map, whose keys are the places of an enum."""
        rows = self.bpfctl.json("map", "dump", name)
        names = self._names(name, enum)
        counted: Counter[str] = Counter()
        for row in rows:
            counted[names.get(row["key"], row["key"])] += row["value"]["packets"]
        return +counted

    def _names(self, name: str, enum: str) -> dict[int, str]:
        """The values of an enum of the object that a map belongs to."""
        with bpfctl.connect(f"unix:{self.daemon.socket}") as target:
            found: Any = target.btf.of_id(target.map(name).info.btf_id).find(enum, Kind.ENUM)
        return {number: text for text, number in found.values}

    def drop_events(self, count: int) -> list[dict[str, Any]]:
        return self.events("ddos/drops", count)

    def events(self, name: str, count: int) -> list[dict[str, Any]]:
        """Exactly so many events of a ring, shown in part; adds to the outcome."""
        done = self.bpfctl("events", name, "-o", "jsonl", "--count", str(count), most=5)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        report = re.search(r"(\d+) events received, (\d+) lost", done.stderr)
        if report is None:
            raise Deviation(f"no report of losses: {done.stderr.strip()!r}")
        lost = int(report[2]) + self._lost(f"{name}_lost")
        self.outcome.events += len(events)
        self.outcome.lost += lost
        expect(f"events of {name}", len(events), count)
        expect(f"events of {name} lost", lost, 0)
        return events

    def _lost(self, name: str) -> int:
        return sum(row["value"] for row in self.bpfctl.json("map", "dump", name))

    def xdp_on_the_interface(self) -> int:
        words = ["ip", "-n", self.place.target, "-j", "link", "show", "dev", network.INTERFACE]
        done = subprocess.run(words, capture_output=True, check=True)
        return sum("xdp" in each for each in json.loads(done.stdout))


def total(counted: Counter[str]) -> int:
    """All packets."""
    return sum(counted.values())
