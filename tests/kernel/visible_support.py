# SPDX-License-Identifier: Apache-2.0
"""What bpftool tells of the machine, and how it differs from what we tell."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

Row = dict[str, Any]


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


def their_net(name: str) -> tuple[set[Any], set[Any], set[Any]]:
    (found,) = bpftool("net", "show", netns=name)
    modes = {"driver": "native", "generic": "generic"}
    xdp = {(each["ifindex"], modes[each["mode"]], each["id"]) for each in found["xdp"]}
    tc = {
        (each["devname"], each["ifindex"], each["kind"], each["name"], each["id"])
        for each in found["tc"]
    }
    return xdp, tc, {each["id"] for each in found["flow_dissector"]}
