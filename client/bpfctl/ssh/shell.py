# SPDX-License-Identifier: Apache-2.0
"""A shell on a target over SSH; each script and each connection is a channel of its own."""

from __future__ import annotations

import contextlib
import logging
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from bpfctl.bootstrap.shell import RUN_SECONDS, Completed
from bpfctl.config import SshTarget
from bpfctl.errors import TargetUnreachable
from bpfctl.ssh.connect import connect
from bpfctl.ssh.transport import WINDOW_BYTES

if TYPE_CHECKING:
    import paramiko

_PIECE = 64 * 1024
_OPEN_SECONDS = 30.0
_MAX_OUTPUT = 4 << 20


class SshShell:
    """A `bpfctl.bootstrap.shell.Shell`."""

    def __init__(self, name: str, config: SshTarget, timeout: float) -> None:
        # Without a handler Python would print paramiko's own reports of what is raised here.
        logging.getLogger("paramiko").addHandler(logging.NullHandler())
        self.name = name
        self.host = config.host
        self._become = f"{config.become} " if config.become else ""
        self._closing = contextlib.ExitStack()
        try:
            self._transport = connect(name, config, timeout, self._closing)
        except BaseException:
            self._closing.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether the connection still stands, as far as it is known here."""
        return self._transport.is_active()

    def command(self, text: str) -> paramiko.Channel:
        """Starts a command line in the login shell of the far side."""
        return self._command(text, _OPEN_SECONDS)

    def _command(self, text: str, timeout: float) -> paramiko.Channel:
        channel = self._transport.open_session(window_size=WINDOW_BYTES, timeout=timeout)
        channel.exec_command(text)
        return channel

    def _script(self, script: str, timeout: float = _OPEN_SECONDS) -> paramiko.Channel:
        return self._command(f"{self._become}/bin/sh -c {shlex.quote(script)}", timeout)

    def run(
        self, script: str, stdin: bytes | Iterable[bytes] = b"", *, timeout: float = RUN_SECONDS
    ) -> Completed:
        import paramiko

        try:
            # A far side that is gone answers nothing, the request for a channel neither.
            channel = self._script(script, min(timeout, _OPEN_SECONDS))
            with channel:
                return _Conversation(channel, timeout).hold(stdin)
        except TimeoutError:
            raise TargetUnreachable(
                self.name,
                f"{self.host} said nothing for {timeout:g} s",
                "is it still there? is the network slow?",
            ) from None
        except (paramiko.SSHException, OSError, EOFError) as error:
            why = str(error) or type(error).__name__
            raise TargetUnreachable(self.name, f"the SSH connection broke: {why}") from None

    def dial(self, socket_path: str, fallback: str) -> paramiko.Channel:
        import paramiko

        if self._become:
            # What the server opens by itself, it opens as the user who has logged in.
            return self._script(fallback)
        try:
            return self._transport.open_unix_socket(socket_path, _OPEN_SECONDS)
        except paramiko.ChannelException:
            # OpenSSH gives one reason for sockets that nobody serves and for those that its
            # configuration closes: the command finds out.
            return self._script(fallback)

    def close(self) -> None:
        self._closing.close()


class _Conversation:
    """Feeds a script and collects what it says."""

    def __init__(self, channel: paramiko.Channel, timeout: float) -> None:
        self._channel = channel
        self._timeout = timeout
        self._last = time.monotonic()
        self._failures: list[Exception] = []
        channel.settimeout(timeout)

    def hold(self, stdin: bytes | Iterable[bytes]) -> Completed:
        """Raises TimeoutError, OSError or EOFError when the connection is of no use."""
        stdout, stderr = bytearray(), bytearray()
        readers = [
            threading.Thread(target=self._collect, args=work, daemon=True)
            for work in ((self._channel.recv, stdout), (self._channel.recv_stderr, stderr))
        ]
        for reader in readers:
            reader.start()
        self._feed(stdin)
        for reader in readers:
            reader.join()
        if self._failures:
            raise self._failures[0]
        status = self._channel.recv_exit_status()
        if status == -1 and not self._channel.get_transport().is_active():
            raise EOFError
        return Completed(status, bytes(stdout), bytes(stderr))

    def _feed(self, stdin: bytes | Iterable[bytes]) -> None:
        """Returns early when the script ends before it has read everything."""
        try:
            for piece in _pieces(stdin):
                if self._channel.exit_status_ready():
                    break
                self._channel.sendall(piece)
                self._last = time.monotonic()
            self._channel.shutdown_write()
        except TimeoutError:
            raise
        except OSError:
            if not self._channel.closed:
                raise

    def _collect(self, read: Callable[[int], bytes], output: bytearray) -> None:
        while len(output) <= _MAX_OUTPUT:
            try:
                piece = read(_PIECE)
            except TimeoutError as error:
                if time.monotonic() - self._last < self._timeout:
                    continue
                self._failures.append(error)
                return
            except (OSError, EOFError) as error:
                self._failures.append(error)
                return
            if not piece:
                return
            output += piece
            self._last = time.monotonic()


def _pieces(stdin: bytes | Iterable[bytes]) -> Iterator[bytes]:
    if isinstance(stdin, bytes):
        stdin = (stdin,)
    for block in stdin:
        for start in range(0, len(block), _PIECE):
            yield block[start : start + _PIECE]
