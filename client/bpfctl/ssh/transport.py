# SPDX-License-Identifier: Apache-2.0
"""paramiko's transport with one channel type more: the far side's unix sockets."""

from __future__ import annotations

import threading
from typing import Any

import paramiko

_KIND = "direct-streamlocal@openssh.com"
_CHANNEL_OPEN = 90
"""SSH_MSG_CHANNEL_OPEN (RFC 4250, section 4.1.2)."""

WINDOW_BYTES = 8 << 20
"""Room for what is under way to us on a channel."""


class Transport(paramiko.Transport):
    """Opens channels to unix sockets (OpenSSH's PROTOCOL, section 2.4)."""

    _opening = threading.Lock()
    _path = ""

    def open_unix_socket(self, path: str, timeout: float) -> paramiko.Channel:
        """A channel to a unix socket there.

        Raises paramiko.ChannelException, whose code is that of RFC 4254, section 5.1.
        """
        with self._opening:
            self._path = path
            return self.open_channel(_KIND, window_size=WINDOW_BYTES, timeout=timeout)

    def _send_user_message(self, data: Any) -> None:
        start = paramiko.Message()
        start.add_byte(bytes([_CHANNEL_OPEN]))
        start.add_string(_KIND)
        if data.asbytes().startswith(start.asbytes()):
            data.add_string(self._path)
            data.add_string("")
            data.add_int(0)
        super()._send_user_message(data)  # type: ignore[misc]
