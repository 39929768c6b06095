# SPDX-License-Identifier: Apache-2.0
"""A daemon on a device of the Android debug bridge: no port is opened, nothing is forwarded."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import grpc

from bpfctl.adb.shell import AdbShell
from bpfctl.config import DEFAULT_SOCKET, AdbTarget
from bpfctl.errors import TargetUnreachable
from bpfctl.transport import channel_options
from bpfctl.transport.bridge import Bridge

if TYPE_CHECKING:
    from bpfctl.transport.bridge import RemoteCommand

_COMMAND_NOT_FOUND = 127


class AdbConnection:
    """One device; each connection of the channel is a stream to the daemon's unix socket."""

    def __init__(self, name: str, config: AdbTarget, timeout: float) -> None:
        self._name = name
        self._config = config
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
        return self._shell.dial(DEFAULT_SOCKET, "bpfd dial-stdio")

    def explain(self, details: str) -> TargetUnreachable:
        trouble = self._shell.trouble()
        if trouble is not None:
            return trouble
        bridge = self._bridge
        # gRPC may see the closed socket before the command's last words are here.
        bridge.ended.wait(2)
        if bridge.exit_status == _COMMAND_NOT_FOUND:
            return TargetUnreachable(
                self._name,
                f"there is no daemon on {self._shell.host} ({bridge.words})",
                f"`bpfctl target up {self._name}` puts one there",
            )
        if bridge.words or bridge.exit_status:
            words = bridge.words or f"exit status {bridge.exit_status}"
            return TargetUnreachable(self._name, f"{self._shell.host}: {words}")
        return TargetUnreachable(self._name, f"the connection broke: {details}")

    def close(self) -> None:
        self._closing.close()
