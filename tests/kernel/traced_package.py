# SPDX-License-Identifier: Apache-2.0
"""A tracing package in the kernel, for tests: attached where its sections say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from bpfd import errors
from bpfd.attach import raw_tracepoint, tracepoint
from bpfd.attach.attachment import Attachment, Program
from bpfd.kernel import map_io, syscall
from bpfd.kernel.constants import ProgType
from bpfd.kernel.info import map_info
from bpfd.v1 import attach_pb2
from tests.kernel.loaded_package import LoadedPackage, RingReader, types_are_known

SECONDS = 30.0
"""Until what is waited for must have come."""


def needs_package(name: str) -> list[pytest.MarkDecorator]:
    """What every test of a tracing package needs."""
    return [
        pytest.mark.root,
        pytest.mark.skipif(os.geteuid() != 0, reason="loading tracing programs needs root"),
        pytest.mark.skipif(
            not types_are_known(name), reason="needs kernel BTF, and none is known"
        ),
    ]


class Traced:
    """A loaded package whose tracepoints are attached; close it."""

    def __init__(
        self,
        name: str,
        settings: Mapping[str, object] | None = None,
        *,
        ring: str = "",
        without: Iterable[str] = (),
    ) -> None:
        """`ring`: the one that `take` reads; `without`: programs that stay unattached."""
        texts = {key: str(value) for key, value in (settings or {}).items()}
        self.package = LoadedPackage(name, texts)
        self._undo = ExitStack()
        self._undo.callback(self.package.close)
        self._ring = ring
        try:
            for program in self.package.loaded.programs.values():
                if program.name not in without:
                    self._attach(program.section, program.fd, program.id, program.name)
            if ring:
                self._reader = RingReader(self.package, ring)
                self._undo.callback(self._reader.close)
                # What attaching and reading itself does.
                self._reader.take()
        except BaseException:
            self._undo.close()
            raise

    def _attach(self, section: str, fd: int, number: int, name: str) -> None:
        kind, _, place = section.partition("/")
        found: Attachment
        if kind == "raw_tp":
            kernel = Program(fd, number, name, ProgType.RAW_TRACEPOINT)
            found = raw_tracepoint.attach(kernel, attach_pb2.RawTracepoint(name=place))
        elif kind == "tp":
            category, _, event = place.partition("/")
            kernel = Program(fd, number, name, ProgType.TRACEPOINT)
            point = attach_pb2.Tracepoint(category=category, name=event)
            try:
                found = tracepoint.attach(kernel, point)
            except errors.NotFound:
                # A system call that this architecture does not have.
                if category != "syscalls":
                    raise
                return
        else:
            return
        self._undo.callback(found.close)

    def take(self, count: int) -> list[Any]:
        """Exactly so many events, waited for."""
        events: list[Any] = []
        until = time.monotonic() + SECONDS
        while len(events) < count and time.monotonic() < until:
            events += self._reader.take()
            time.sleep(0.005)
        events += self._reader.take()
        assert len(events) == count, events
        assert self.lost() == 0
        return events

    def rest(self) -> list[Any]:
        """Events that nobody took so far."""
        return self._reader.take()

    def lost(self) -> int:
        return int(self.package.get(f"{self._ring}_lost", "0"))

    def entries(self, map_name: str) -> list[tuple[Any, Any]]:
        """Keys and values of a map."""
        fd = self.package.fd(map_name)
        keys, values = self.package.codecs(map_name)
        found = []
        for chunk in map_io.read(fd, map_io.shape(map_info(fd)), 256):
            for index in range(len(chunk.keys) // keys.size):
                key = chunk.keys[index * keys.size : (index + 1) * keys.size]
                value = chunk.values[index * values.size : (index + 1) * values.size]
                found.append((keys.decode(key), values.decode(value)))
        return found

    def size(self, map_name: str) -> int:
        """How many keys a map has."""
        fd = self.package.fd(map_name)
        size, count = map_info(fd).key_size, 0
        key = syscall.map_get_next_key(fd, None, size)
        while key is not None:
            count += 1
            key = syscall.map_get_next_key(fd, key, size)
        return count

    def close(self) -> None:
        self._undo.close()


class Child:
    """A process that runs a script of Python once `go` is called; ended at the end."""

    def __init__(self, script: str, *words: str) -> None:
        begin = "import os, sys; sys.stdin.readline()\n"
        self._process = subprocess.Popen(
            [sys.executable, "-c", begin + script, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def go(self) -> str:
        """Let it run to its end; what it wrote."""
        out, _ = self._process.communicate("\n", timeout=SECONDS)
        assert self._process.returncode == 0
        return out

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


class Perf:
    """perf counts tracepoints of one process until it ends, as a second opinion."""

    def __init__(self, pid: int, *events: str) -> None:
        """Raises pytest's Skipped where there is no perf."""
        path = shutil.which("perf")
        if path is None or shutil.which("unshare") is None:
            pytest.skip("a second opinion: perf is not installed")
        words = [path, "stat", "-I", "50", "-x,", "-p", str(pid), "-e", ",".join(events)]
        mounted = (
            "[ -d /sys/kernel/tracing/events ] || mount -t tracefs nodev /sys/kernel/tracing"
        )
        self._process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", f'{mounted}; exec "$@"', "sh", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> None:
        """Wait until it counts: the first interval is over."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.lstrip()[:1].isdecimal():
                return
        raise AssertionError("perf ended")

    def counts(self) -> dict[str, int]:
        """By event; the process has ended."""
        assert self._process.stderr is not None
        with self._process as process, self._process.stderr as lines:
            text = lines.read()
            process.wait(SECONDS)
        found: dict[str, int] = {}
        for line in text.splitlines():
            parts = line.split(",")
            if len(parts) > 3 and parts[1].isdecimal():
                found[parts[3]] = found.get(parts[3], 0) + int(parts[1])
        return found
