# SPDX-License-Identifier: Apache-2.0
"""Starting, asking and stopping the daemon of a home."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bpfctl.bootstrap import scripts
from bpfctl.bootstrap.errors import BootstrapFailed
from bpfctl.bootstrap.shell import Shell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpfctl.target import Target

_START_SECONDS = 180.0
"""A slow board takes some seconds; one that swaps or reads from a slow card, many."""

_STOP_FIFTHS = 150
"""Fifths of a second that a daemon has to end its sessions."""

_EX_TEMPFAIL = 75
"""Of bpfd: another one has the socket or the pins."""


def start(shell: Shell, home: str, sha256: str) -> None:
    """Starts the daemon of a bundle, and waits until it is ready.

    One that runs already is left alone. Raises BootstrapFailed with its words.
    """
    done = scripts.run(shell, "start", home, sha256, timeout=_START_SECONDS)
    if done.status == 0:
        return
    if done.status == _EX_TEMPFAIL and _runs(shell, home):
        return
    raise BootstrapFailed(
        shell.name,
        f"the daemon does not start: {done.words}",
        "stop the other one first" if done.status == _EX_TEMPFAIL else "",
    )


def _runs(shell: Shell, home: str) -> bool:
    return scripts.run(shell, "status", home).text.startswith("running")


def stop(shell: Shell, home: str) -> bool:
    """Stops the daemon; False: none was running. What is pinned stays."""
    done = scripts.run(shell, "stop", home, str(_STOP_FIFTHS), timeout=_STOP_FIFTHS)
    if done.status != 0:
        raise BootstrapFailed(shell.name, f"the daemon cannot be stopped: {done.words}")
    return done.text.strip() != "none"


@contextmanager
def asked(shell: Shell, home: str, timeout: float = 30.0) -> Iterator[Target]:
    """The daemon itself, over the same shell. Raises the kinds of `bpfctl.errors`."""
    from bpfctl.target import Target
    from bpfctl.transport.home import HomeConnection

    connection = HomeConnection(shell.name, shell, home, owned=False)
    try:
        with Target(shell.name, connection, timeout) as target:
            yield target
    finally:
        connection.close()
