# SPDX-License-Identifier: Apache-2.0
"""Packets as scapy expressions, evaluated in a process of its own.

That keeps scapy's start (a second, a look at routes and interfaces), its warnings and its
licence (GPL-2.0) out of this process.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from bpfctl.errors import InvalidArgument, NotSupported

MAX_PACKETS = 65536
_SECONDS = 120.0
_CHILD = Path(__file__).with_name("scapy_frames.py")


def frames(text: str, limit: int = MAX_PACKETS) -> list[bytes]:
    """Ethernet frames of an expression such as "Ether()/IP(dst='10.0.0.0/30')/TCP()".

    Raises InvalidArgument with what Python or scapy says, NotSupported without scapy.
    """
    if importlib.util.find_spec("scapy") is None:
        raise NotSupported(
            "packets as scapy expressions here: scapy is not installed",
            needs=f"{sys.executable} -m pip install 'bpfd[packets]' (or scapy alone)",
        )
    # -P: a scapy.py in the folder where someone works is not scapy.
    command = [sys.executable, "-P", str(_CHILD), str(limit)]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise InvalidArgument("--scapy", f"it takes more than {_SECONDS:g} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it failed"]
        raise InvalidArgument("--scapy", said[-1])
    found = [bytes.fromhex(line) for line in done.stdout.splitlines()]
    if not found:
        raise InvalidArgument("--scapy", "these are no packets")
    return found
