# SPDX-License-Identifier: Apache-2.0
"""Debian's adbd and adb, unpacked and run in a network namespace of their own.

adbd listens on all addresses and gives a root shell to whoever comes, so it never runs in the
machine's own network. A veth pair leads to it from here; the adb server listens on a unix
socket.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from bpfctl.debian import Archive

_SECONDS = 20.0
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SU = """
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **words)
{
	char *shell[] = {"sh", "-c", words[2], NULL};
	if (setgid(0) || setuid(0) || count < 3)
		return 1;
#ifdef MAGISK
	if (!strcmp(words[1], "-c"))
		execvp("sh", shell);
#else
	if (!strcmp(words[1], "0"))
		execvp(words[2], words + 2);
#endif
	return 1;
}
"""
"""What su of debuggable builds (`su 0 COMMAND`) and of Magisk (`su -c SCRIPT`) take."""

_numbers = itertools.count()


def ip(*words: str) -> str:
    """Runs ip(8)."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@dataclass
class Programs:
    """The unpacked packages, and how their programs start without being installed."""

    tree: Path

    @property
    def _libraries(self) -> Path:
        (found,) = (self.tree / "usr/lib").glob("*/android")
        return found.parent

    def command(self, name: str) -> list[str]:
        loader = next(self._libraries.glob("ld-linux-*.so.*"))
        path = f"{self._libraries}:{self._libraries / 'android'}"
        program = self.tree / "usr/lib/android-sdk/platform-tools" / name
        return [str(loader), "--library-path", path, str(program)]

    def install_adb(self, folder: Path) -> Path:
        """A copy of `adb` that can be run by itself, as `adb start-server` runs it again.

        Its loader's path is replaced by one of at most the same length.
        """
        loader = folder / "ld"
        loader.symlink_to(next(self._libraries.glob("ld-linux-*.so.*")))
        image = (self.tree / "usr/lib/android-sdk/platform-tools/adb").read_bytes()
        old = b"/lib64/ld-linux-x86-64.so.2\0"
        new = os.fsencode(loader)
        assert image.count(old) == 1
        assert len(new) < len(old)
        program = folder / "adb.bin"
        program.write_bytes(image.replace(old, new.ljust(len(old), b"\0")))
        program.chmod(0o755)
        path = f"{self._libraries}:{self._libraries / 'android'}"
        script = folder / "adb"
        script.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={path} exec {program} "$@"\n')
        script.chmod(0o755)
        return script


def compile_su(path: Path, kind: str) -> None:
    """A su that lets everybody in, of the kind "AOSP" or "MAGISK"."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang-19"))), None)
    if compiler is None:
        pytest.skip("needs a C compiler")
    command = [compiler, "-static", "-x", "c", f"-D{kind}", "-o", str(path), "-"]
    subprocess.run(command, input=_SU.encode(), check=True)
    path.chmod(0o4755)


@functools.cache
def userland() -> Path:
    """Android's shell (mksh) and commands (toybox), as Debian has them, and adbd."""
    return Archive("trixie", "amd64").tree("adbd", "mksh", "toybox")


@functools.cache
def unpacked() -> Programs:
    """Debian's adb and adbd."""
    return Programs(Archive("trixie", "amd64").tree("adb", "adbd"))


@dataclass
class Bench:
    """A network namespace with devices, and perhaps a server, until the context ends."""

    programs: Programs
    folder: Path
    netns: str
    here: str
    """Address of this side."""
    there: str
    """Address of the devices."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def server_socket(self) -> Path:
        return self.folder / "server.sock"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def environment(self) -> dict[str, str]:
        """Of the adb server and its clients."""
        return {
            "HOME": str(self.home),
            "ADB_SERVER_SOCKET": f"localfilesystem:{self.server_socket}",
            "ADB_MDNS": "0",
            "ADB_MDNS_AUTO_CONNECT": "0",
        }

    def spawn(self, *words: str, environment: dict[str, str] | None = None) -> int:
        """Starts a process in the namespace; gives its number in `processes`."""
        with open(self.folder / f"log-{len(self.processes)}", "wb") as log:
            process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.netns}", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": _PATH, "HOME": str(self.home), **(environment or {})},
            )
        self.processes.append(process)
        return len(self.processes) - 1

    def start_user_device(self, port: int, path: str) -> subprocess.Popen[bytes]:
        """As `start_device`, but the shell is that of the user 2000, as on Android."""
        self.folder.chmod(0o711)
        # The cache may be in a folder that is closed to others.
        if not (self.folder / "tree").exists():
            shutil.copytree(self.programs.tree, self.folder / "tree", symlinks=True)
            self.programs = Programs(self.folder / "tree")
        user = ("setpriv", "--reuid=2000", "--regid=2000", "--clear-groups")
        return self.start_device(port, *user, path=path)

    def start_device(
        self, port: int, *prefix: str, path: str = _PATH
    ) -> subprocess.Popen[bytes]:
        """An adbd on a port; `prefix` is a command that runs it by exec()."""
        settings = (f"ADBD_PORT={port}", f"PATH={path}")
        number = self.spawn(*prefix, "/usr/bin/env", *settings, *self.programs.command("adbd"))
        self.wait_for(lambda: self.listens(port), f"adbd on {port}", number)
        return self.processes[number]

    def start_android(self, port: int, su: str = "") -> subprocess.Popen[bytes]:
        """An adbd on a root like Android's, with nothing of this machine but its kernel.

        With `su` ("AOSP" or "MAGISK") its shell is not root's, and has one of that kind.
        """
        root = self.folder / "android"
        root.mkdir()
        script = Path(__file__).with_name("adb_android.sh")
        words = ["unshare", "--mount", "sh", str(script), str(root), str(userland()), str(port)]
        if su:
            compile_su(self.folder / "su", su)
            words.append(str(self.folder / "su"))
        number = self.spawn(*words)
        self.wait_for(lambda: self.listens(port), "adbd of Android", number)
        return self.processes[number]

    def start_server(self) -> subprocess.Popen[bytes]:
        number = self.spawn(
            *self.programs.command("adb"), "nodaemon", "server", environment=self.environment()
        )
        self.wait_for(self.server_socket.exists, "the adb server", number)
        return self.processes[number]

    def listens(self, port: int) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((self.there, port), 1).close()
            return True
        return False

    def wait_for(self, condition: object, what: str, number: int) -> None:
        assert callable(condition)
        deadline = time.monotonic() + _SECONDS
        while not condition():
            if time.monotonic() > deadline or self.processes[number].poll() is not None:
                log = (self.folder / f"log-{number}").read_text(errors="replace")
                raise AssertionError(f"{what} did not start:\n{log}")
            time.sleep(0.02)

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """An empty network namespace that adbd can run in."""
    number = next(_numbers)
    name = f"adb-{os.getpid()}-{number}"
    link = f"ad{os.getpid() % 100000}x{number}"
    subnet = f"10.213.{os.getpid() % 250}.{4 * number}"
    first = 4 * number
    here, there = (f"{subnet.rpartition('.')[0]}.{first + each}" for each in (1, 2))
    folder = Path(tempfile.mkdtemp(prefix="adb"))
    (folder / "home").mkdir()
    made = Bench(unpacked(), folder, name, here, there)
    ip("netns", "add", name)
    try:
        ip("link", "add", link, "type", "veth", "peer", "eth0", "netns", name)
        ip("addr", "add", f"{here}/30", "dev", link)
        ip("link", "set", link, "up")
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "addr", "add", f"{there}/30", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        yield made
    finally:
        for process in made.processes:
            if process.poll() is None:
                made.stop(process)
        for pid in ip("netns", "pids", name).split():
            # What scripts have left running: adbd does not end it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        ip("link", "del", link)
        ip("netns", "del", name)
        shutil.rmtree(folder, ignore_errors=True)
