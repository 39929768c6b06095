# SPDX-License-Identifier: Apache-2.0
"""Where things are in a home: the folder of a daemon that was put on a target.

The scripts in `scripts/` know the same names; docs/design/009-targets.md describes them.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

CANDIDATES = (
    "/var/lib/bpfd",
    "/data/local/tmp/bpfd",
    "/data/bpfd",
    "/opt/bpfd",
    "~/.bpfd",
    "/run/bpfd-home",
    "/dev/shm/bpfd",
    "/tmp/bpfd",
)
"""Folders that can be a home, the best first."""

MAX_HOME_BYTES = 70
"""A socket's path has room for 107 bytes (unix(7)); the names below a home are shorter
than 37."""


@dataclass(frozen=True)
class Layout:
    """Paths below a home."""

    home: str

    @property
    def socket(self) -> str:
        """Operators connect here."""
        return f"{self.home}/run/bpfd.sock"

    @property
    def log(self) -> str:
        """What the daemon says; written anew at each start."""
        return f"{self.home}/run/log"

    @property
    def dial(self) -> str:
        """A script that connects its standard input and output to the daemon."""
        launcher = shlex.quote(f"{self.home}/current/bpfd/bpfd")
        return f"exec {launcher} dial-stdio --socket {shlex.quote(self.socket)}"
