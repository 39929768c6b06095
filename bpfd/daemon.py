# SPDX-License-Identifier: Apache-2.0
"""What the parts of one running daemon share."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from bpfd.audit import Audit
from bpfd.interceptor import Activity
from bpfd.kernel import mounts

EX_UNAVAILABLE, EX_CANTCREAT, EX_TEMPFAIL, EX_NOPERM = 69, 73, 75, 77
"""Exit codes, as sysexits.h has them."""


@dataclass(frozen=True)
class Options:
    """The command line; paths are absolute."""

    socket: str
    read_only_socket: str
    state_dir: str
    bpffs: str = mounts.BPFFS
    listen: str | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    audit_log: str | None = None
    idle_exit: float | None = None
    ready_fd: int | None = None
    metrics: tuple[str, int] | None = None
    """Address and port of the page of metrics."""


class StartError(Exception):
    """Why the daemon cannot start, and its exit code."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass
class Daemon:
    """Everything of one running daemon that services need."""

    options: Options
    audit: Audit
    activity: Activity = field(default_factory=Activity)
    # What must be undone, in the order in which it was done.
    undo: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
