# SPDX-License-Identifier: Apache-2.0
"""A shell on a target over adb, as root."""

from __future__ import annotations

import contextlib
import shlex
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bpfctl.adb import old_shell, shell_v2
from bpfctl.adb.choice import open_device
from bpfctl.adb.device import AdbError, ServiceRefused
from bpfctl.adb.root import as_root, find_root
from bpfctl.bootstrap.shell import RUN_SECONDS, Completed
from bpfctl.config import AdbTarget
from bpfctl.errors import TargetUnreachable

if TYPE_CHECKING:
    from bpfctl.adb.device import Device
    from bpfctl.adb.shell_v2 import ShellCommand
    from bpfctl.transport.bridge import RemoteCommand

_PIECE = 64 * 1024
_MAX_OUTPUT = 4 << 20


class AdbShell:
    """A `bpfctl.bootstrap.shell.Shell`; each script and connection is a service of its own."""

    def __init__(self, name: str, config: AdbTarget, timeout: float) -> None:
        self.name = name
        self._timeout = timeout
        self._root: str | None = None
        with self._explained():
            self._device: Device = open_device(config.serial, timeout)
        self.host = self._device.serial

    def trouble(self) -> TargetUnreachable | None:
        """What is wrong with the way to the device by now; None: nothing that is known."""
        error = self._device.trouble()
        return None if error is None else TargetUnreachable(self.name, error.why, error.hint)

    def run(
        self, script: str, stdin: bytes | Iterable[bytes] = b"", *, timeout: float = RUN_SECONDS
    ) -> Completed:
        with self._explained(timeout):
            return self._run(script, _pieces(stdin), timeout, self._way_to_root())

    def dial(self, socket_path: str, fallback: str) -> RemoteCommand:
        with self._explained():
            try:
                service = f"localfilesystem:{socket_path}"
                return old_shell.BareCommand(self._device.open(service, self._timeout))
            except ServiceRefused:
                # Nobody listens, or this adbd may not go there: the script does, or says why.
                return self._command(as_root(self._way_to_root(), fallback))

    def close(self) -> None:
        self._device.close()

    def _way_to_root(self) -> str:
        if self._root is None:
            self._root = find_root(self.name, self.host, self._run_as_is)
        return self._root

    def _run_as_is(self, script: str, timeout: float) -> Completed:
        return self._run(script, iter(()), timeout, "")

    def _run(self, script: str, stdin: Iterator[bytes], timeout: float, root: str) -> Completed:
        text = as_root(root, script)
        if not self._device.has_shell_v2(self._timeout):
            return old_shell.run(self._device, text, stdin, timeout)
        stream = self._device.open(shell_v2.SERVICE + text, timeout)
        with contextlib.closing(shell_v2.ShellCommand(stream)) as command:
            return _Conversation(command, timeout).hold(stdin)

    def _command(self, text: str) -> RemoteCommand:
        if self._device.has_shell_v2(self._timeout):
            stream = self._device.open(shell_v2.SERVICE + text, self._timeout)
            return shell_v2.ShellCommand(stream)
        text = f"sh -c {shlex.quote(text)} 2>/dev/null"
        return old_shell.BareCommand(self._device.open(old_shell.SERVICE + text, self._timeout))

    @contextlib.contextmanager
    def _explained(self, timeout: float | None = None) -> Iterator[None]:
        """Turns what adb raises into TargetUnreachable."""
        try:
            yield
        except AdbError as error:
            raise TargetUnreachable(self.name, error.why, error.hint) from None
        except TimeoutError:
            raise self.trouble() or TargetUnreachable(
                self.name,
                f"{self.host} said nothing for {timeout or self._timeout:g} s",
                "is it still there? does it hang?",
            ) from None
        except OSError as error:
            why = str(error) or type(error).__name__
            raise self.trouble() or TargetUnreachable(
                self.name, f"the connection to {self.host} broke: {why}"
            ) from None


class _Conversation:
    """Feeds a script and collects what it says."""

    def __init__(self, command: ShellCommand, timeout: float) -> None:
        self._command = command
        self._timeout = timeout
        self._last = time.monotonic()
        self._failure: OSError | None = None
        self._stdout = bytearray()
        self._stderr = bytearray()
        command.settimeout(timeout)

    def hold(self, stdin: Iterator[bytes]) -> Completed:
        """Raises TimeoutError and OSError when the connection is of no use."""
        reader = threading.Thread(target=self._collect, daemon=True)
        reader.start()
        try:
            self._feed(stdin, reader)
        except BaseException:
            self._command.close()
            raise
        reader.join()
        if self._failure is not None:
            raise self._failure
        status = self._command.recv_exit_status()
        if status < 0:
            raise ConnectionResetError("the shell ended in the middle")
        return Completed(status, bytes(self._stdout), bytes(self._stderr))

    def _feed(self, stdin: Iterator[bytes], reader: threading.Thread) -> None:
        """Returns early when the script ends before it has read everything."""
        try:
            for piece in stdin:
                if not reader.is_alive():
                    return
                self._command.sendall(piece)
                self._last = time.monotonic()
            self._command.shutdown_write()
        except TimeoutError:
            raise
        except OSError:
            # The reader knows whether the script has ended or the device is gone.
            reader.join(self._timeout)
            if self._failure is None and not self._command.ended:
                raise

    def _collect(self) -> None:
        try:
            while True:
                try:
                    piece = self._command.recv(_PIECE)
                except TimeoutError:
                    if time.monotonic() - self._last < self._timeout:
                        continue
                    raise
                self._last = time.monotonic()
                _keep(self._stderr, self._command.recv_stderr(_PIECE))
                if not piece:
                    return
                _keep(self._stdout, piece)
        except OSError as error:
            self._failure = error
        finally:
            # Wakes who still sends to a script that has ended.
            self._command.close()


def _keep(output: bytearray, piece: bytes) -> None:
    output += piece[: max(0, _MAX_OUTPUT - len(output))]


def _pieces(stdin: bytes | Iterable[bytes]) -> Iterator[bytes]:
    if isinstance(stdin, bytes):
        stdin = (stdin,) if stdin else ()
    for block in stdin:
        for start in range(0, len(block), _PIECE):
            yield block[start : start + _PIECE]
