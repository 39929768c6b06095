# SPDX-License-Identifier: Apache-2.0
"""A daemon that `target up` put on a target, by its unix socket there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import grpc

from bpfctl.bootstrap import scripts
from bpfctl.bootstrap.layout import Layout
from bpfctl.errors import TargetUnreachable
from bpfctl.transport import channel_options
from bpfctl.transport.bridge import Bridge

if TYPE_CHECKING:
    from bpfctl.bootstrap.shell import Shell
    from bpfctl.transport.bridge import RemoteCommand


class HomeConnection:
    """A channel over a shell, which it closes if `owned`."""

    def __init__(self, name: str, shell: Shell, home: str, *, owned: bool = True) -> None:
        self._name = name
        self._shell = shell
        self._layout = Layout(home)
        with contextlib.ExitStack() as closing:
            if owned:
                closing.callback(shell.close)
            self._bridge = Bridge(self._start)
            closing.callback(self._bridge.close)
            self.channel = grpc.insecure_channel(
                f"unix:{self._bridge.path}", options=channel_options(keepalive=True)
            )
            closing.callback(self.channel.close)
            self._closing = closing.pop_all()

    def _start(self) -> RemoteCommand:
        return self._shell.dial(self._layout.socket, self._layout.dial)

    def explain(self, details: str) -> TargetUnreachable:
        try:
            said = scripts.run(self._shell, "status", self._layout.home, timeout=10)
        except TargetUnreachable as error:
            return error
        start = f"`bpfctl target up {self._name}` starts it"
        verdict, _, words = said.text.strip().partition(" ")
        if verdict == "gone":
            return TargetUnreachable(
                self._name,
                f"there is no {self._layout.home} any more: it was removed, or was in memory "
                "and the target has been restarted",
                f"`bpfctl target up {self._name}` puts the daemon there again",
            )
        if verdict == "none":
            why = f"there is no whole bundle in {self._layout.home}"
            return TargetUnreachable(
                self._name, why, f"`bpfctl target up {self._name}` sends it again"
            )
        if verdict == "rebooted":
            why = "the daemon is not running: the target has been restarted"
            return TargetUnreachable(self._name, why, start)
        if verdict == "ended":
            last = f" (its last words: {words})" if words and "ending" not in words else ""
            return TargetUnreachable(self._name, f"the daemon is not running{last}", start)
        words = self._bridge.words or details
        return TargetUnreachable(self._name, f"the connection to the daemon broke: {words}")

    def close(self) -> None:
        self._closing.close()
