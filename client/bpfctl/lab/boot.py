# SPDX-License-Identifier: Apache-2.0
"""Starting a board's QEMU, waiting until the board answers, and ending it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bpfctl.config import cache_dir
from bpfctl.progress import Progress, silent

from . import monitor
from .errors import LabError
from .image import Image
from .qemu import Files, Hardware, command
from .recipe import Recipe
from .state import Place, Process

_READY = re.compile(rb"BOARD-READY (\S+) ([0-9.]+)")
_PANIC = re.compile(rb"Kernel panic - not syncing: ([^\r\n]*)")

_PORT_TRIES = 5
_STOP_SECONDS = 3.0


def check_program(recipe: Recipe) -> None:
    """Raises LabError when the QEMU of this board is not installed."""
    if shutil.which(recipe.machine.program) is None:
        raise LabError(
            f"{recipe.name} runs in {recipe.machine.program}, and there is none",
            f"install it: apt install {recipe.machine.package}",
        )


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(
    recipe: Recipe, image: Image, overlay: bytes, hardware: Hardware, place: Place, other: Place
) -> tuple[Process, Hardware]:
    """Start QEMU; gives its process, and the hardware with the ports that it got.

    `other` has the wire's ends: the board's own place, or that of the board to be joined.
    """
    initrds = cache_dir() / "lab"
    handle, initrd = tempfile.mkstemp(prefix=".initrd-", dir=initrds)
    try:
        with os.fdopen(handle, "wb") as file, image.initrd.open("rb") as base:
            shutil.copyfileobj(base, file)
            file.write(overlay)
        joined = other != place
        files = Files(
            kernel=image.kernel,
            initrd=Path(initrd),
            pid=place.pid,
            console=place.console,
            monitor=place.monitor,
            wire_local=other.wire_here if joined else place.wire_board,
            wire_remote=other.wire_board if joined else place.wire_here,
        )
        return _start(recipe, hardware, files)
    finally:
        # QEMU has read it by now, and starts from its memory when it is reset.
        os.unlink(initrd)


def _start(recipe: Recipe, hardware: Hardware, files: Files) -> tuple[Process, Hardware]:
    for _ in range(_PORT_TRIES):
        hardware = replace(
            hardware,
            ssh_port=free_port(),
            adb_port=free_port() if hardware.adb_port else 0,
        )
        words = command(recipe.machine, hardware, files)
        # The working folder is QEMU's own from here on: it must not hold anybody's.
        done = subprocess.run(
            words, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode == 0:
            process = Process.find(int(files.pid.read_text()))
            if process is None:
                raise LabError("QEMU ended as soon as it had started", shlex.join(words))
            return process, hardware
        if "host forwarding rule" not in done.stderr:
            break
    said = done.stderr.strip().splitlines()
    raise LabError(f"QEMU does not start: {said[-1] if said else 'it says nothing'}")


def wait_ready(
    place: Place,
    process: Process,
    timeout: float,
    offset: int = 0,
    progress: Progress = silent,
) -> float:
    """Wait for the board's word on its console that its servers listen.

    `offset`: bytes of the console that are of an earlier start. Gives the seconds that the
    kernel had been up. Raises LabError.
    """
    until = time.monotonic() + timeout
    while True:
        progress(f"boot {place.name}", 0, 0)
        said = console(place)[offset:]
        ready = _READY.search(said)
        if ready:
            return float(ready[2])
        panic = _PANIC.search(said)
        if panic:
            words = panic[1].decode(errors="replace")
            raise LabError(f"the kernel panics: {words}", _tail(said))
        if not process.alive:
            raise LabError("QEMU ended before the board was up", _tail(said))
        if time.monotonic() > until:
            raise LabError(
                f"the board was not up after {timeout:g} s",
                f"give it more time or memory; {_tail(said)}",
            )
        time.sleep(0.05)


def console(place: Place) -> bytes:
    """What the board wrote on its console."""
    try:
        return place.console.read_bytes()
    except FileNotFoundError:
        return b""


def _tail(said: bytes) -> str:
    lines = said.decode(errors="replace").replace("\r", "").splitlines()
    last = [line for line in lines if line.strip()][-3:]
    return "its console ends with: " + " | ".join(last) if last else "its console is empty"


def _quit(place: Place) -> bool:
    """Ask QEMU to end; gives whether it heard that."""
    try:
        monitor.execute(place.monitor, "quit")
    except (OSError, LabError, ValueError):
        return False
    return True


def stop(place: Place) -> bool:
    """End the QEMU of a board and remove its folder; gives whether there was one."""
    process = place.process()
    if process is not None:
        gone = (
            (_quit(place) and process.wait(_STOP_SECONDS))
            or process.end(signal.SIGTERM, _STOP_SECONDS)
            or process.end(signal.SIGKILL, _STOP_SECONDS)
        )
        if not gone:
            raise LabError(
                f"process {process.pid} of board {place.name} does not end",
                "is a disk that it waits for gone?",
            )
    place.remove()
    return process is not None
