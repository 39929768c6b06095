# SPDX-License-Identifier: Apache-2.0
"""A busy machine as we tell of it, as bpftool does, and where the two differ."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import bpfctl
from bpfctl.listing import link_row
from bpfctl.visible import Machine

from bpfd.v1 import links_pb2
from tests.kernel.busy_machine import Busy, busy_machine
from tests.kernel.conftest import RunningDaemon, SharedDaemon

Row = dict[str, Any]


@dataclass
class Seen:
    """What was there, as we saw it, and where the daemon is that saw it."""

    busy: Busy
    daemon: RunningDaemon
    machine: Machine
    effective: Machine
    links: dict[int, Row]

    def of(self, program_id: int) -> list[links_pb2.Attachment]:
        return self.machine.of_program(program_id)

    def of_link(self, what: str) -> links_pb2.Attachment:
        """The attachment of a link of the busy machine."""
        with open(f"/proc/self/fdinfo/{self.busy.links[what]}") as file:
            number = next(int(line.split()[1]) for line in file if line.startswith("link_id"))
        return next(each for each in self.machine.attachments if each.link_id == number)


@contextmanager
def look() -> Iterator[Seen]:
    """A busy machine, looked at once."""
    with ExitStack() as undo:
        daemon = SharedDaemon(undo).running()
        busy = undo.enter_context(busy_machine())
        with bpfctl.connect(f"unix:{daemon.socket}") as target:
            yield Seen(
                busy,
                daemon,
                Machine(target.machine()),
                Machine(target.machine(effective=True)),
                {each.id: link_row(each) for each in target.all_links().kernel_links},
            )


@functools.cache
def version() -> tuple[int, ...]:
    """Of bpftool: (7, 5, 0)."""
    text = subprocess.run(["bpftool", "-j", "version"], check=True, capture_output=True).stdout
    return tuple(int(part) for part in json.loads(text)["version"].split("."))


def bpftool(*words: str, netns: str = "") -> Any:
    """What `bpftool -j` prints, with pins."""
    command = ["bpftool", "-j", "-f", *words]
    if netns:
        command = ["nsenter", f"--net=/run/netns/{netns}", *command]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # bpftool 7.1 writes what is no JSON: "flow_dissector":["id":7]
    return json.loads(re.sub(r'\["id":(\d+)\]', r'[{"id":\1}]', text))


def differences(theirs: Row, ours: Row, *, apart: float = 1) -> dict[str, tuple[Any, Any]]:
    """Fields that both know and tell otherwise; what bpftool has as [] we leave out.

    bpftool's clock of the load is the start of the machine to the second.
    """
    found = {}
    for name, value in theirs.items():
        mine = ours.get(name, [] if value == [] else None)
        if isinstance(value, list) and isinstance(mine, list):
            value, mine = sorted(value, key=str), sorted(mine, key=str)
        if name == "loaded_at" and abs(value - mine) <= apart:
            continue
        if value != mine:
            found[name] = (value, mine)
    return found


KNOWS_TCX = (7, 3)
"""Version of bpftool that shows tcx and netkit."""


def their_net(name: str) -> tuple[set[Any], set[Any], set[Any]]:
    (found,) = bpftool("net", "show", netns=name)
    modes = {"driver": "native", "generic": "generic"}
    xdp = {(each["ifindex"], modes[each["mode"]], each["id"]) for each in found["xdp"]}
    tc = {
        (
            *(each["devname"], each["ifindex"], each["kind"], each["name"]),
            *(each.get("id") or each["prog_id"], each.get("link_id", 0)),
        )
        for each in found["tc"]
    }
    return xdp, tc, {each["id"] for each in found["flow_dissector"]}
