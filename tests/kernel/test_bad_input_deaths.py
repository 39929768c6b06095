# SPDX-License-Identifier: Apache-2.0
"""Client or daemon is killed, interrupted or cut off in the middle of each kind of work."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from bpfd.v1 import maps_pb2, objects_pb2, programs_pb2
from tests.kernel.api import PINNED, Api, eventually, map_ref, program
from tests.kernel.clang import clang, compiled
from tests.kernel.command_line import CommandLine, Finished, bpf_fds, check_clean, finish
from tests.kernel.conftest import RunningDaemon

pytestmark = pytest.mark.skipif(not clang(), reason="needs clang")

ENTRIES = 1 << 20


def ticks(pid: int) -> int:
    """Clock ticks that a process spent in the kernel."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[12])


@contextlib.contextmanager
def loading(line: CommandLine, daemon: RunningDaemon) -> Iterator[subprocess.Popen[str]]:
    """A load that is in the middle of the verifier's work."""
    (line.folder / "slow.o").write_bytes(compiled("objects", "SLOW"))
    before = ticks(daemon.pid)
    # Every state is written into the log: that takes seconds.
    with ended(line.start("load", "slow.o", "--log-level", "2")) as process:
        assert eventually(lambda: ticks(daemon.pid) > before + 10)
        yield process


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kills what still runs at the end."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def fill(api: Api, name: str) -> None:
    """Loads a map of a million entries of 32 bytes as NAME/val_many."""
    api.load(name, compiled("values"), PINNED)
    half = ENTRIES // 2
    for start in (0, half):
        numbers = range(start, start + half)
        keys = struct.pack(f"={2 * half}Q", *(part for n in numbers for part in (n, 0)))
        reply = api.maps.Update(
            maps_pb2.UpdateRequest(map=map_ref(f"{name}/val_many"), keys=keys, values=keys)
        )
        assert reply.updated == half


@contextlib.contextmanager
def dumping(line: CommandLine, daemon: RunningDaemon) -> Iterator[subprocess.Popen[str]]:
    """A dump whose first lines have come, and whose reader takes no more for now."""
    with daemon.channel() as channel:
        fill(Api(channel), "many")
    with ended(line.start("map", "dump", "many/val_many", "-o", "jsonl")) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith('{"key"')
        yield process


@contextlib.contextmanager
def receiving(line: CommandLine, daemon: RunningDaemon) -> Iterator[subprocess.Popen[str]]:
    """A stream of events of which the first have come."""
    with daemon.channel() as channel:
        api = Api(channel)
        api.load("ring", compiled("events"), PINNED)
        produce(api, 5)
    with ended(line.start("events", "ring/ev_ring", "-o", "jsonl")) as process:
        assert process.stdout is not None
        for _ in range(5):
            assert process.stdout.readline().startswith("{")
        yield process


def produce(api: Api, count: int) -> None:
    """Writes records into ev_ring."""
    context = struct.pack("=QQQQ", count, 0, 0, 0)
    request = programs_pb2.TestRunRequest(program=program("ring/produce"), context=context)
    api.programs.TestRun(request)


Work = Callable[
    [CommandLine, RunningDaemon], "contextlib.AbstractContextManager[subprocess.Popen[str]]"
]
WORK: dict[str, Work] = {"load": loading, "dump": dumping, "events": receiving}
LOADED = {"load": [], "dump": ["many"], "events": ["ring"]}
"""Objects that are there before and after."""


def unload_all(daemon: RunningDaemon) -> None:
    """What was pinned goes; that it still can is part of the test."""
    with daemon.channel() as channel:
        api = Api(channel)
        for name in api.object_names():
            api.unload(name)


@pytest.mark.parametrize("work", WORK)
def test_a_client_that_is_killed(bpfctl: CommandLine, daemon: RunningDaemon, work: str) -> None:
    threads = len(os.listdir(f"/proc/{daemon.pid}/task"))
    with WORK[work](bpfctl, daemon) as process:
        with daemon.channel() as channel:
            names = Api(channel).object_names()
        process.kill()
        process.wait()
    with daemon.channel() as channel:
        api = Api(channel)
        assert api.object_names() == names == LOADED[work]
        objects = api.objects.List(objects_pb2.ListObjectsRequest()).objects
        held = sum(len(item.maps) + len(item.programs) for item in objects)
        # Nothing more than what is loaded: no map of a dump, no ring of a subscription.
        assert eventually(lambda: len(bpf_fds(daemon.pid)) == held), bpf_fds(daemon.pid)
        if work == "events":
            produce(api, 3)
    assert eventually(lambda: len(os.listdir(f"/proc/{daemon.pid}/task")) <= threads + 20)
    unload_all(daemon)


@pytest.mark.parametrize("work", WORK)
def test_a_daemon_that_is_killed(bpfctl: CommandLine, daemon: RunningDaemon, work: str) -> None:
    with WORK[work](bpfctl, daemon) as process:
        daemon.kill()
        done = finish(process)
    summary = "events received" in done.err
    said = done.refused(5, "target local", context=summary)
    assert "broke" in said or "not running" in said or "nobody listens" in said
    assert "bpfd serve" in said or "broke the connection" in said
    daemon.start()
    with daemon.channel() as channel:
        assert Api(channel).object_names() == LOADED[work]
    unload_all(daemon)
    check_clean(daemon)


@pytest.mark.parametrize("work", ["dump", "events"])
def test_a_daemon_that_is_told_to_end(
    bpfctl: CommandLine, daemon: RunningDaemon, work: str
) -> None:
    """The reader of a dump takes nothing until the daemon's patience is at its end."""
    with WORK[work](bpfctl, daemon) as process:
        assert daemon.stop() == 0
        done = finish(process)
    said = done.refused(5, "target local", context=True)
    assert "shutting down" in said or "broke" in said or "not running" in said
    assert done.out.count("\n") < ENTRIES - 1
    daemon.start()
    unload_all(daemon)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_load_that_is_interrupted(
    bpfctl: CommandLine, daemon: RunningDaemon, number: signal.Signals, code: int
) -> None:
    with loading(bpfctl, daemon) as process:
        process.send_signal(number)
        done = finish(process)
    assert done.code == code, done
    assert "Traceback" not in done.err
    check_clean(daemon)


def test_a_dump_that_is_interrupted(bpfctl: CommandLine, daemon: RunningDaemon) -> None:
    with dumping(bpfctl, daemon) as process:
        process.send_signal(signal.SIGINT)
        done = finish(process)
    assert done.code == 130, done
    assert "Traceback" not in done.err
    unload_all(daemon)


@pytest.mark.parametrize(
    "command",
    [
        ("map", "dump", "many/val_many", "-o", "jsonl"),
        ("map", "dump", "many/val_many"),
        ("map", "dump", "many/val_many", "-o", "csv"),
    ],
    ids=["jsonl", "table", "csv"],
)
def test_a_reader_that_goes_away(
    bpfctl: CommandLine, channel: grpc.Channel, command: tuple[str, ...]
) -> None:
    """As of `bpfctl map dump ... | head -1`."""
    fill(Api(channel), "many")
    with ended(bpfctl.start(*command)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        assert process.wait(60) == 141
        assert err == ""
    Api(channel).unload("many")


def literal(name: bytes, value: bytes) -> bytes:
    """A header field without an index (RFC 7541, section 6.2.2), of less than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, section 4.1)."""
    return (
        struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content
    )


def half_a_load(size: int) -> bytes:
    """A call of Objects.Load that says `size` bytes and sends fewer."""
    headers = b"".join(
        literal(name, value)
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/bpfd.v1.Objects/Load"),
            (b":authority", b"localhost"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        )
    )
    message = struct.pack(">BI", 0, size) + compiled("objects")[: min(8000, size // 2)]
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(4, 0, 0, b"")
        + frame(1, 4, 1, headers)
        + frame(0, 0, 1, message)
    )


def test_half_a_request(bpfctl: CommandLine, daemon: RunningDaemon) -> None:
    """Clients that break off in the middle; no thread, file or memory stays."""
    files = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    for size in (9000, 60 << 20, (1 << 32) - 1) * 20:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(daemon.socket))
            client.sendall(half_a_load(size))
            client.settimeout(20)
            assert client.recv(1), "the daemon did not answer the settings"
    bpfctl.run("object", "list").ok()
    assert eventually(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= files + 4)


def test_a_client_that_stops_reading_does_not_keep_others_waiting(
    bpfctl: CommandLine, daemon: RunningDaemon
) -> None:
    with dumping(bpfctl, daemon) as process:
        process.send_signal(signal.SIGSTOP)
        try:
            others: list[Finished] = [bpfctl.run("object", "list") for _ in range(3)]
            assert all("many" in each.ok() for each in others)
        finally:
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
    unload_all(daemon)
