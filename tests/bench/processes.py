# SPDX-License-Identifier: Apache-2.0
"""Processes of a benchmark: a daemon, peers built from C, and helpers that print JSON."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bpfctl.config import LocalTarget
from bpfctl.target import Target

from tests.clang import CLANG
from tests.kernel.conftest import RunningDaemon

HERE = Path(__file__).parent
BUILD = HERE.parent.parent / "build" / "bench"
SYSTEM_PYTHON = "/usr/bin/python3"


class Missing(Exception):
    """Why a peer cannot be measured here."""


@contextlib.contextmanager
def daemon() -> Iterator[RunningDaemon]:
    """A daemon of our own, ended at the end."""
    with tempfile.TemporaryDirectory(prefix="bpfd-bench-") as name:
        running = RunningDaemon(Path(name), Path("/sys/fs/bpf") / Path(name).name)
        try:
            running.start()
            yield running
        finally:
            if running.process is not None and running.process.poll() is None:
                running.stop()
            if running.bpffs.exists():
                shutil.rmtree(running.bpffs)


def connect(running: RunningDaemon) -> Target:
    """A client of it."""
    return Target.open("bench", LocalTarget(str(running.socket)))


def build_bpf(name: str) -> bytes:
    """tests/bench/NAME.bpf.c as an object. Raises Missing without clang."""
    if not CLANG:
        raise Missing("there is no clang")
    BUILD.mkdir(parents=True, exist_ok=True)
    target = BUILD / f"{name}.bpf.o"
    include = f"/usr/include/{os.uname().machine}-linux-gnu"
    command = [CLANG, "-g", "-O2", "-target", "bpf", "-I", include]
    subprocess.run([*command, "-c", HERE / f"{name}.bpf.c", "-o", target], check=True)
    return target.read_bytes()


def build_c(name: str) -> Path:
    """tests/bench/NAME.c as a program with libbpf. Raises Missing without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler or not Path("/usr/include/bpf/libbpf.h").exists():
        raise Missing("there is no gcc, or no libbpf-dev")
    BUILD.mkdir(parents=True, exist_ok=True)
    target = BUILD / name
    subprocess.run([compiler, "-O2", "-o", target, HERE / f"{name}.c", "-lbpf"], check=True)
    return target


def system_python_has(module: str) -> None:
    """Raises Missing when the distribution's Python lacks a module."""
    command = [SYSTEM_PYTHON, "-c", f"import {module}"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise Missing(f"python3-bpfcc is not installed ({module})")


class Helper:
    """A process that says "ready", works, and prints one line of JSON at its end."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(
            [str(each) for each in command],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
        )

    def wait_ready(self) -> None:
        """Returns when it is ready."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self._process.kill()
            raise RuntimeError(f"{self._process.args!r} did not get ready")

    def terminate(self) -> None:
        """Asks it to come to an end."""
        self._process.terminate()

    def result(self, seconds: float = 60) -> dict[str, Any]:
        """What it printed at its end."""
        try:
            out, _ = self._process.communicate(timeout=seconds)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found


def python(name: str, *arguments: str) -> Helper:
    """One of the scripts of this folder, in this Python."""
    return Helper(sys.executable, HERE / name, *arguments)
