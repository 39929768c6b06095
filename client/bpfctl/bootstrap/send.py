# SPDX-License-Identifier: Apache-2.0
"""Sending a bundle to a home: continued where it was cut, whole or not there at all."""

from __future__ import annotations

import hashlib
import secrets
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from bpfctl.bootstrap import scripts
from bpfctl.bootstrap.errors import BootstrapFailed
from bpfctl.bootstrap.facts import Home
from bpfctl.bootstrap.shell import Completed, Shell
from bpfctl.bootstrap.source import Source
from bpfctl.errors import TargetUnreachable
from bpfctl.progress import Progress

_PIECE = 128 * 1024
_SEND_SECONDS = 120.0
"""How long a slow flash memory may hold up an upload."""
_UNPACK_SECONDS = 600.0
_PATIENCE_SECONDS = 600.0
"""How long to wait for someone else who sends the same bundle."""

# Runs in the Python of a bundle; `-S -s` and a C library of its own make it independent.
_COMPARE = """
import hashlib, json, pathlib, sys
top = pathlib.Path(sys.argv[1])
files = json.loads((top / "manifest.json").read_text())["files"]
for name, expected in files.items():
    if hashlib.sha256((top / name).read_bytes()).hexdigest() != expected:
        sys.exit(f"{name} is damaged")
"""


class Cut(Exception):
    """The connection broke while a bundle was sent; what had arrived is kept there."""

    def __init__(self, error: TargetUnreachable, sent: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.sent = sent
        """Bytes that left this machine."""


def send(
    shell: Shell, home: Home, source: Source, *, streamed: bool, progress: Progress
) -> int:
    """Brings a bundle to `home`; gives the bytes that were sent, 0 when it was there.

    `streamed`: unpacked as it comes, with nothing to continue when it is cut. Raises Cut,
    and BootstrapFailed after the target is as it was.
    """
    if source.sha256 in home.bundles:
        return 0
    done = scripts.run(shell, "prepare", home.path)
    if done.status != 0:
        raise BootstrapFailed(shell.name, f"{home.path} cannot be made: {done.words}")
    upload = _Upload(shell, home.path, source, progress)
    try:
        if streamed:
            upload.stream()
        else:
            upload.send(resume=any(name.startswith(source.sha256) for name in home.uploads))
    except BootstrapFailed:
        upload.discard()
        raise
    except TargetUnreachable as error:
        raise Cut(error, upload.sent) from None
    return upload.sent


class _Upload:
    """One upload, under a name that is its own."""

    def __init__(self, shell: Shell, home: str, source: Source, progress: Progress) -> None:
        self._shell = shell
        self._home = home
        self._source = source
        self._progress = progress
        self._name = f"{source.sha256}.{secrets.token_hex(4)}"
        self._checked = False
        self.sent = 0

    def discard(self, what: str = "") -> None:
        """Removes what has been begun; "stay": the home stays, for another try."""
        scripts.run(self._shell, "discard", self._home, self._name, what)

    def send(self, *, resume: bool) -> None:
        """To a file first, which a later one continues."""
        start = self._claim() if resume else 0
        if start < 0:
            return
        if not self._append(start):
            # What was there before, or what a connection that is half dead still wrote, is
            # not what it should be: all of it once more.
            self.discard("stay")
            if start == 0 or not self._append(0):
                raise BootstrapFailed(
                    self._shell.name, "the bundle arrived damaged", "try again"
                )
        self._unpack("file")

    def stream(self) -> None:
        """Straight into the unpacked form."""
        self._unpack("stream", self._pieces(0))

    def _claim(self) -> int:
        """Bytes that are there already and right; -1: someone else has sent all of it."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            done = scripts.run(
                self._shell, "claim", self._home, self._source.sha256, self._name
            )
            verdict = done.text.strip()
            if verdict == "present":
                return -1
            if verdict != "growing":
                return self._verified(done)
            self._progress("waiting for another upload", 0, 0)
        raise BootstrapFailed(self._shell.name, "another upload of the bundle does not end")

    def _verified(self, done: Completed) -> int:
        size, sha256 = _size_and_hash(done)
        if done.status != 0 or not 0 < size <= self._source.packed:
            self.discard("stay")
            return 0
        if sha256 and sha256 != _hash_of_start(self._source.path, size):
            self.discard("stay")
            return 0
        return size

    def _append(self, start: int) -> bool:
        """Sends from byte `start` on; False: the file there is not the bundle."""
        done = scripts.run(
            self._shell,
            "append",
            self._home,
            self._name,
            stdin=self._pieces(start),
            timeout=_SEND_SECONDS,
        )
        if done.status != 0:
            self._fail(f"the bundle cannot be written to {self._home}", done)
        size, sha256 = _size_and_hash(done)
        self._checked = bool(sha256)
        return size == self._source.packed and sha256 in ("", self._source.sha256)

    def _pieces(self, start: int) -> Iterator[bytes]:
        what, total = f"sending bpfd {self._source.version}", self._source.packed
        with self._source.path.open("rb") as file:
            done = file.seek(start)
            while piece := file.read(_PIECE):
                self._progress(what, done, total)
                yield piece
                done += len(piece)
                self.sent += len(piece)
        self._progress(what, total, total)

    def _unpack(self, how: str, stdin: Iterator[bytes] | bytes = b"") -> None:
        done = scripts.run(
            self._shell,
            "unpack",
            self._home,
            self._source.sha256,
            self._name,
            how,
            stdin=stdin,
            timeout=_UNPACK_SECONDS,
        )
        if done.status != 0:
            self._fail(f"the bundle cannot be unpacked in {self._home}", done)
        if not self._checked:
            self._compare()

    def _compare(self) -> None:
        """Where nothing else could tell: does every file have the hash of the manifest?"""
        top = f"{self._home}/bundles/{self._source.sha256}"
        words = [f"{top}/bpfd/bpfd", "--python", "-c", _COMPARE, f"{top}/bpfd"]
        done = self._shell.run(shlex.join(words))
        if done.status != 0:
            self._shell.run(f"rm -rf {shlex.quote(top)}")
            self._fail("the bundle arrived damaged", done)

    def _fail(self, why: str, done: Completed) -> None:
        hint = ""
        if "space" in done.words.lower():
            hint = "make room there, or name another folder with --home"
        raise BootstrapFailed(self._shell.name, f"{why}: {done.words}", hint)


def _size_and_hash(done: Completed) -> tuple[int, str]:
    words = done.text.split()
    size = int(words[0]) if words and words[0].isdigit() else 0
    return size, words[1] if len(words) > 1 else ""


def _hash_of_start(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (piece := file.read(min(size, 1 << 20))):
            digest.update(piece)
            size -= len(piece)
    return digest.hexdigest()
