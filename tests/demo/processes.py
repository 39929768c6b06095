# SPDX-License-Identifier: Apache-2.0
"""What the run starts: the daemon on the target, `bpfctl` outside, an HTTP server."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.demo import console
from tests.demo.network import Network
from tests.demo.outcome import Deviation

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 30.0


def program(name: str) -> str:
    """A command of this distribution, beside the running Python."""
    return str(Path(sys.executable).with_name(name))


def in_namespace(place: Network, *words: str) -> list[str]:
    """A command in the target's network namespace, and in no other new namespace."""
    return ["nsenter", f"--net={place.path(place.target)}", *words]


class Process:
    """A child in a session of its own, so that Ctrl-C reaches the run alone; close it."""

    def __init__(self, words: list[str], log: Path, pass_fds: tuple[int, ...] = ()) -> None:
        self._log = log
        with open(log, "wb") as file:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        self._process.terminate()
        try:
            return self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            raise Deviation(f"process {self.pid} did not end when it was told to") from None

    def close(self) -> None:
        if self.running():
            self._process.kill()
        self._process.wait()


class Daemon(Process):
    """`bpfd` on the target."""

    def __init__(self, place: Network, folder: Path, bpffs: Path) -> None:
        self.socket = folder / "bpfd.sock"
        words = in_namespace(place, program("bpfd"), "serve", "--socket", str(self.socket))
        words += ["--read-only-socket", str(folder / "bpfd-ro.sock")]
        words += ["--state-dir", str(folder / "state"), "--bpffs", str(bpffs)]
        shown = [Path(word).name if "/bin/" in word else word for word in words]
        console.command(shown)
        reader, writer = os.pipe()
        with open(reader, "rb") as ready:
            # The pipe is inherited through nsenter under its own number.
            words += ["--ready-fd", str(writer)]
            super().__init__(words, folder / "bpfd.log", (writer,))
            os.close(writer)
            if not select.select([ready], [], [], _SECONDS)[0] or not ready.readline():
                self.close()
                raise Deviation(f"the daemon did not get ready: {self.said().strip()}")


class Bpfctl:
    """Runs `bpfctl` as a user would, and shows it."""

    def __init__(self, folder: Path) -> None:
        self._environment = os.environ | {
            "BPFCTL_CONFIG_DIR": str(folder / "config"),
            "BPFCTL_CACHE_DIR": str(folder / "cache"),
            "COLUMNS": "110",
            "NO_COLOR": "1",
        }

    def choose(self, target: str) -> None:
        """Speak to this target from now on."""
        console.command(["export", f"BPFCTL_TARGET={target}"])
        self._environment["BPFCTL_TARGET"] = target

    def __call__(self, *words: str, most: int = 40) -> subprocess.CompletedProcess[str]:
        """Run a command and show what it wrote; Deviation when it fails."""
        console.command(["bpfctl", *words])
        done = self._run(words)
        console.output(done.stdout, most)
        console.output(done.stderr)
        return done

    def json(self, *words: str) -> Any:
        """The answer of a command as data; not shown."""
        return json.loads(self._run((*words, "-o", "json")).stdout)

    def _run(self, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        command = "bpfctl " + " ".join(words)
        try:
            done = subprocess.run(
                [program("bpfctl"), *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=self._environment,
                cwd=ROOT,
                timeout=_SECONDS,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            said = (error.stderr or b"").decode(errors="replace").strip()
            raise Deviation(f"{command} did not end within {_SECONDS:g} s {said}") from None
        if done.returncode:
            raise Deviation(f"{command} ended with {done.returncode}: {done.stderr.strip()}")
        return done
