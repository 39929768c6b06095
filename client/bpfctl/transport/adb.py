# SPDX-License-Identifier: Apache-2.0
"""A daemon on a device of the Android debug bridge whose place there is not known.

It was installed, or somebody else's `target up` put it there. No port is opened, nothing is
forwarded: each connection is a stream to the daemon's unix socket.
"""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING

import grpc

from bpfctl.adb.shell import AdbShell
from bpfctl.bootstrap.layout import CANDIDATES, Layout
from bpfctl.config import DEFAULT_SOCKET, AdbTarget
from bpfctl.errors import TargetUnreachable
from bpfctl.transport import channel_options
from bpfctl.transport.bridge import Bridge

if TYPE_CHECKING:
    from bpfctl.transport.bridge import RemoteCommand

_HOMES = [Layout(home) for home in CANDIDATES if not home.startswith("~")]
_PLACES = {
    DEFAULT_SOCKET: "exec bpfd dial-stdio",
    **{each.socket: each.dial for each in _HOMES},
}
"""Sockets that a daemon may have, each with a script that connects to it."""


class AdbConnection:
    """One device; the daemon is looked for when the channel connects."""

    def __init__(self, name: str, config: AdbTarget, timeout: float) -> None:
        self._name = name
        self._timeout = timeout
        with contextlib.ExitStack() as closing:
            self._shell = AdbShell(name, config, timeout)
            closing.callback(self._shell.close)
            self._bridge = Bridge(self._start)
            closing.callback(self._bridge.close)
            self.channel = grpc.insecure_channel(
                f"unix:{self._bridge.path}", options=channel_options(keepalive=True)
            )
            closing.callback(self.channel.close)
            self._closing = closing.pop_all()

    def _start(self) -> RemoteCommand:
        places = " ".join(map(shlex.quote, _PLACES))
        found = self._shell.run(
            f'for s in {places}; do [ -S "$s" ] && echo "$s" && exit; done; exit 1',
            timeout=self._timeout,
        )
        if found.status:
            raise FileNotFoundError("no daemon runs there")
        path = found.text.strip()
        return self._shell.dial(path, _PLACES[path])

    def explain(self, details: str) -> TargetUnreachable:
        trouble = self._shell.trouble()
        if trouble is not None:
            return trouble
        # gRPC may see the closed socket before the last words are here.
        self._bridge.ended.wait(2)
        up = "`bpfctl target up NAME` puts a daemon there"
        if self._name.startswith("adb:"):
            up = f"`bpfctl target add NAME --adb {self._shell.host}`, then {up}"
        return TargetUnreachable(
            self._name, f"{self._shell.host}: {self._bridge.words or details}", up
        )

    def close(self) -> None:
        self._closing.close()
