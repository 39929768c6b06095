# SPDX-License-Identifier: Apache-2.0
"""A virtual board that runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from bpfctl.config import AdbTarget, SshTarget, TargetConfig
from bpfctl.errors import TargetUnreachable
from bpfctl.progress import Progress, silent

from . import boot, monitor, state, targets
from .errors import LabError
from .keys import keys
from .wire import Wire

if TYPE_CHECKING:
    from bpfctl.bootstrap.shell import Completed, Shell

READY_SECONDS = 120.0
"""How long a board may take to answer; a quiet machine needs 3 to 7 s."""

_LOGIN_SECONDS = 60.0
"""How long the SSH server may take to let somebody in once it listens."""

_SHELL_SECONDS = 30.0
"""For a connection over SSH, whose keys are computed by a translated CPU."""

_ADB_SECONDS = 2.0


class Board:
    """A board; as a context manager it is switched off at the end."""

    def __init__(self, running: state.Running) -> None:
        """Use `bpfctl.lab.up` or `bpfctl.lab.board`."""
        self.running = running
        self._place = state.place(running.name)

    @property
    def name(self) -> str:
        return self.running.name

    @property
    def arch(self) -> str:
        """Debian's word: amd64, arm64, armhf, riscv64."""
        return self.running.arch

    @property
    def release(self) -> str:
        """The kernel's, as `uname -r` says."""
        return self.running.release

    @property
    def ssh_port(self) -> int:
        """Of 127.0.0.1."""
        return self.running.ssh_port

    @property
    def adb_port(self) -> int:
        """Of 127.0.0.1; 0: the board has no adbd."""
        return self.running.adb_port

    @property
    def ssh(self) -> SshTarget:
        """How it is reached over SSH."""
        return SshTarget(
            "127.0.0.1",
            "root",
            self.ssh_port,
            identity=str(keys().identity),
            known_hosts=str(self._place.known_hosts),
            home="" if self.adb_port else self.running.home,
        )

    @property
    def target(self) -> TargetConfig:
        """How it is reached as a target: over adb where it has one, else over SSH."""
        if self.adb_port:
            return AdbTarget(f"127.0.0.1:{self.adb_port}", self.running.home)
        return self.ssh

    @cached_property
    def wire(self) -> Wire:
        """The cable in eth1, plugged in at the first use."""
        if self.running.joined:
            raise LabError(
                f"eth1 of {self.name} is joined to {self.running.joined}",
                "its wire has no free end",
            )
        return Wire(self._place.wire_here, self._place.wire_board)

    @property
    def console(self) -> str:
        """All that it wrote on its console, of earlier starts too."""
        return boot.console(self._place).decode(errors="replace").replace("\r\n", "\n")

    @property
    def alive(self) -> bool:
        """Whether its QEMU runs."""
        return self.running.process.alive

    def run(
        self, script: str, stdin: bytes | Iterable[bytes] = b"", *, timeout: float = 60.0
    ) -> Completed:
        """Run a script on the board, see `bpfctl.bootstrap.shell.Shell`."""
        return self.shell.run(script, stdin, timeout=timeout)

    @cached_property
    def shell(self) -> Shell:
        """A shell over SSH, connected at the first use; `forget_shell` drops it."""
        from bpfctl.bootstrap.shell import open_shell

        return open_shell(self.name, self.ssh, _SHELL_SECONDS)

    def forget_shell(self) -> None:
        """Close the connection of `run`, which a reset or a lost network broke."""
        shell = self.__dict__.pop("shell", None)
        if shell is not None:
            shell.close()

    def monitor(self, command: str) -> str:
        """Run a command of QEMU's monitor, such as "info network"; gives what it says."""
        return str(self._execute("human-monitor-command", **{"command-line": command}))

    def set_link(self, interface: str, up: bool) -> None:
        """Plug or unplug "eth0" or "eth1"; the board's SSH and adb go through eth0."""
        self._execute("set_link", name=interface, up=up)

    def reset(self, *, wait: bool = True, timeout: float = READY_SECONDS) -> None:
        """Press the reset button: nothing is kept. `wait` until it answers again."""
        offset = len(boot.console(self._place))
        self.forget_shell()
        self._execute("system_reset")
        if wait:
            self.wait_ready(timeout, offset)

    def wait_ready(
        self,
        timeout: float = READY_SECONDS,
        offset: int = 0,
        progress: Progress = silent,
    ) -> float:
        """Wait until SSH answers; gives the seconds that its kernel had been up then.

        `offset`: bytes of the console to be passed over, those of an earlier start.
        """
        seconds = boot.wait_ready(self._place, self.running.process, timeout, offset, progress)
        until = time.monotonic() + _LOGIN_SECONDS
        while True:
            try:
                done = self.run("true", timeout=10)
            except TargetUnreachable as error:
                self.forget_shell()
                if time.monotonic() > until:
                    raise LabError(
                        f"{self.name} is up but does not answer: {error.why}"
                    ) from None
                time.sleep(0.1)
                continue
            if done.status:
                raise LabError(f"{self.name} runs no commands: {done.words}")
            return seconds

    def down(self) -> None:
        """Switch it off, forget it as a target and remove what it had on this machine."""
        self.forget_shell()
        wire = self.__dict__.pop("wire", None)
        if wire is not None:
            wire.close()
        if self.adb_port:
            _disconnect(f"127.0.0.1:{self.adb_port}")
        with state.locked(self.name) as place:
            noted = place.read()
            # Another board may have the name by now.
            if noted is None or noted.process == self.running.process:
                targets.forget(self.name)
                boot.stop(place)
        if self.running.joined:
            # So that the workstation can have that end again.
            state.place(self.running.joined).wire_here.unlink(missing_ok=True)

    def _execute(self, command: str, **arguments: object) -> object:
        try:
            return monitor.execute(self._place.monitor, command, **arguments)
        except OSError as error:
            why = error.strerror or str(error)
            raise LabError(
                f"the monitor of {self.name} does not answer: {why}",
                "" if self.alive else "the board is off",
            ) from None

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()


def _disconnect(serial: str) -> None:
    """Have the adb server, if one runs, forget a device; else it lists it as offline."""
    from bpfctl.adb import server
    from bpfctl.adb.device import AdbError

    with contextlib.suppress(OSError, AdbError, server.RequestFailed):
        address = server.address_from_environment()
        server.AdbServer(address, _ADB_SECONDS).query(f"host:disconnect:{serial}")
