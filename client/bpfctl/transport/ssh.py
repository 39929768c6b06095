# SPDX-License-Identifier: Apache-2.0
"""A daemon behind SSH: no port is opened there.

One that `target up` put there is reached by its unix socket, an installed one by its command
`bpfd dial-stdio`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import grpc

from bpfctl.config import SshTarget
from bpfctl.errors import TargetUnreachable
from bpfctl.ssh.shell import SshShell
from bpfctl.transport import channel_options
from bpfctl.transport.bridge import Bridge

if TYPE_CHECKING:
    import paramiko

_COMMAND_NOT_FOUND = 127
_NOT_EXECUTABLE = 126


class SshConnection:
    """One SSH connection; each connection of the channel is one channel of it."""

    def __init__(self, name: str, config: SshTarget, timeout: float) -> None:
        self._name = name
        self._config = config
        with contextlib.ExitStack() as closing:
            self._shell = SshShell(name, config, timeout)
            closing.callback(self._shell.close)
            self._bridge = Bridge(self._start)
            closing.callback(self._bridge.close)
            self.channel = grpc.insecure_channel(
                f"unix:{self._bridge.path}", options=channel_options(keepalive=True)
            )
            closing.callback(self.channel.close)
            self._closing = closing.pop_all()

    def _start(self) -> paramiko.Channel:
        return self._shell.command(self._config.command)

    def explain(self, details: str) -> TargetUnreachable:
        bridge = self._bridge
        if not self._shell.alive:
            return TargetUnreachable(self._name, "the SSH connection broke")
        # gRPC may see the closed socket before the command's last words are here.
        bridge.ended.wait(2)
        command = self._config.command.split()[0]
        if bridge.exit_status == _COMMAND_NOT_FOUND:
            return TargetUnreachable(
                self._name,
                f"{self._config.host} has no command {command!r} ({bridge.words})",
                "`bpfctl target up NAME` puts a daemon there; one that is installed elsewhere: "
                "`bpfctl target add NAME --ssh HOST --command '/opt/bpfd/bin/bpfd dial-stdio'`",
            )
        if bridge.exit_status == _NOT_EXECUTABLE:
            return TargetUnreachable(
                self._name, f"{command} cannot be run on {self._config.host} ({bridge.words})"
            )
        if bridge.words or bridge.exit_status:
            words = bridge.words or f"exit status {bridge.exit_status}"
            return TargetUnreachable(
                self._name, f"`{self._config.command}` on {self._config.host}: {words}"
            )
        return TargetUnreachable(self._name, f"the connection broke: {details}")

    def close(self) -> None:
        self._closing.close()
