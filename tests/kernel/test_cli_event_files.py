# SPDX-License-Identifier: Apache-2.0
"""`bpfctl events` with conditions, into files for other programs, and where that ends badly."""

from __future__ import annotations

import contextlib
import csv
import ctypes
import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bpfctl.config import LocalTarget
from bpfctl.errors import TargetUnreachable
from bpfctl.target import Target

from bpfd.kernel import attributes, syscall
from bpfd.kernel.constants import Cmd
from tests.kernel import cli_support, terminal
from tests.kernel.api import eventually
from tests.kernel.clang import compiled
from tests.kernel.cli_support import Cli, needs_clang
from tests.kernel.conftest import RunningDaemon

pytestmark = needs_clang

np = pytest.importorskip("numpy")
pq = pytest.importorskip("pyarrow.parquet")
perfetto = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")

RING = "answers/answers"


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Cli:
    return cli_support.make(daemon, tmp_path)


@dataclass
class Producer:
    """The object `answers` in the daemon."""

    target: Target
    program: int

    def run(self, count: int) -> None:
        """Writes records with numbers that go on; they wait in the ring."""
        fd = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, self.program)
        try:
            context = struct.pack("=Q", count)
            buffer = ctypes.create_string_buffer(context, len(context))
            attr = attributes.TestRun(
                prog_fd=fd, ctx_in=ctypes.addressof(buffer), ctx_size_in=len(context)
            )
            syscall.bpf(Cmd.PROG_TEST_RUN, attr)
        finally:
            os.close(fd)


@pytest.fixture
def producer(daemon: RunningDaemon) -> Iterator[Producer]:
    with (
        # One test stops the daemon.
        contextlib.suppress(TargetUnreachable),
        Target.open("test", LocalTarget(str(daemon.socket))) as target,
        target.session("test") as session,
        target.load(compiled("answers"), "answers", session=session) as loaded,
    ):
        yield Producer(target, loaded.programs["answer_all"].id)


READERS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    "jsonl": lambda text: [json.loads(line) for line in text.splitlines()],
    "json": json.loads,
    "csv": lambda text: list(csv.DictReader(text.splitlines())),
}
WHERE = "dport == 443 and saddr == 10.0.0.0/22 and latency >= 100us and number % 4 == 1"


def test_a_condition_chooses(cli: Cli, producer: Producer) -> None:
    for index, (form, read) in enumerate(READERS.items()):
        producer.run(300)
        numbers = range(300 * index, 300 * index + 300)
        chosen = [number for number in numbers if number >= 100 and number % 4 == 1]
        asked = ("-o", form, "--where", WHERE, "--count", str(len(chosen)))
        done = cli.try_("events", RING, *asked)
        assert done.returncode == 0, done.stderr
        assert [int(row["number"]) for row in read(done.stdout)] == chosen
        assert f"300 events received, {len(chosen)} chosen by --where, 0 lost" in done.stderr
    text = cli.refused(2, "events", RING, "--where", "dprt == 443")
    assert "there is no field 'dprt'" in text
    assert "did you mean dport?" in text
    assert "ts, latency, pid" in text


def test_library_gives_arrays(producer: Producer) -> None:
    producer.run(3000)
    with producer.target.events(RING, where="number >= 1000 and dport == 80") as stream:
        numbers: list[int] = []
        for array in stream.arrays():
            assert array.dtype.names is not None
            numbers += array["number"].tolist()
            if stream.received == 3000:
                break
    assert numbers == list(range(1000, 3000, 2))
    producer.run(10)
    own = np.dtype([("ts", "<u8"), ("latency", "<u8"), ("pid", "<u4")])
    with producer.target.events(RING) as stream:
        array = next(stream.arrays(own))
    assert array["latency"].tolist() == [1000 * number for number in range(3000, 3010)]
    assert array["pid"].tolist() == [os.getpid()] * 10


def test_parquet_has_typed_columns(cli: Cli, producer: Producer, tmp_path: Path) -> None:
    producer.run(5000)
    cli("events", RING, "-o", "parquet", "-w", "out.parquet", "--count", "5000")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["number"].to_pylist() == list(range(5000))
    assert table["saddr"][258].as_py() == "10.0.1.2"
    assert str(table["latency"].type) == "duration[ns]"
    assert str(table["dport"].type) == "uint16"
    assert set(table["pid"].to_pylist()) == {os.getpid()}
    stamps = table["ts"].to_pylist()
    assert stamps == sorted(stamps)
    about = table.schema.metadata
    epoch = int(about[b"bpfctl.monotonic_epoch_ns"])
    assert abs(epoch + stamps[0] - time.time_ns()) < 600 * 10**9
    assert about[b"bpfctl.type"] == b"struct answer"
    assert not (tmp_path / "out.parquet.part").exists()
    producer.run(10)
    done = subprocess.run(
        [sys.executable, "-m", "bpfctl", "events", RING, "-o", "parquet", "--count", "10"],
        env=cli.environment,
        capture_output=True,
        check=True,
        timeout=60,
    )
    piped = pq.read_table(io.BytesIO(done.stdout))
    assert piped["number"].to_pylist() == list(range(5000, 5010))


def test_perfetto_has_threads_and_slices(cli: Cli, producer: Producer, tmp_path: Path) -> None:
    producer.run(60)
    cli("events", RING, "-o", "perfetto", "-w", "out.pftrace", "--count", "60")
    trace = perfetto.Trace.FromString((tmp_path / "out.pftrace").read_bytes())
    kinds = perfetto.TrackEvent
    begun = [
        packet for packet in trace.packet if packet.track_event.type == kinds.TYPE_SLICE_BEGIN
    ]
    # The first one lasts no time.
    assert len(begun) == 59
    tracks = {packet.track_descriptor.uuid: packet.track_descriptor for packet in trace.packet}
    threads = [track.thread for track in tracks.values() if track.HasField("thread")]
    assert [(thread.pid, thread.tid) for thread in threads] == [
        (os.getpid(), threading.get_native_id())
    ]
    clocks = {
        clock.clock_id: clock.timestamp for clock in trace.packet[0].clock_snapshot.clocks
    }
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    assert 0 <= now - begun[-1].timestamp < 600 * 10**9
    assert abs((clocks[1] - clocks[3]) - (time.time_ns() - now)) < 10**9
    notes = {note.name: note for note in begun[0].track_event.debug_annotations}
    assert (notes["saddr"].string_value, notes["dport"].int_value) == ("10.0.0.1", 443)


def epolls(daemon: RunningDaemon) -> int:
    """What the daemon waits with: its loop's, gRPC's, and one for each ring that is read."""
    found = 0
    for link in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += "eventpoll" in os.readlink(link)
    return found


@pytest.mark.parametrize("how", ["interrupt", "daemon"])
def test_parquet_is_whole_however_it_ends(
    cli: Cli, daemon: RunningDaemon, producer: Producer, tmp_path: Path, how: str
) -> None:
    before = epolls(daemon)
    with cli.started("events", RING, "-o", "parquet", "-w", "out.parquet") as process:
        assert eventually(lambda: epolls(daemon) > before)
        producer.run(500)
        with producer.target.events(RING) as mine:
            producer.run(1)
            # Both have one reader: what one gets, the other gets too.
            next(iter(mine))
        time.sleep(0.5)
        if how == "daemon":
            daemon.kill()
        else:
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == {"interrupt": 0, "daemon": 5}[how], err
    numbers = pq.read_table(tmp_path / "out.parquet")["number"].to_pylist()
    assert len(numbers) >= 500
    assert f" {len(numbers)} events received" in err
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_reader_that_goes_away_ends_it(cli: Cli, producer: Producer) -> None:
    for form in ("parquet", "perfetto", "jsonl"):
        with cli.started("events", RING, "-o", form, "--duration", "1s") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            producer.run(4000)
            assert process.wait(timeout=60) == 141
            assert "Traceback" not in process.stderr.read()
            process.stdout = None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False
    )
    if made.returncode:
        pytest.skip("needs to mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_said(cli: Cli, producer: Producer, small_disk: Path) -> None:
    file = small_disk / "out"
    for form in ("jsonl", "perfetto", "parquet"):
        producer.run(10_000)
        text = cli.refused(1, "events", RING, "-o", form, "-w", str(file), "--count", "10000")
        assert f"{file}: No space left on device" in text
        # A parquet file without its end is of no use, and is not left.
        left = [entry.name for entry in small_disk.iterdir()]
        assert left == ([] if form == "parquet" else ["out"])
        file.unlink(missing_ok=True)


def test_binary_formats_refuse_a_terminal(cli: Cli) -> None:
    arguments = [sys.executable, "-m", "bpfctl", "events", RING, "-o", "parquet"]
    with terminal.at_terminal(arguments, cli.environment, cli.folder) as shown:
        shown.expect("parquet is nothing for a terminal; name a file with -w FILE")


def test_run_writes_events_into_a_file_and_shows_the_maps(cli: Cli, tmp_path: Path) -> None:
    asked = ("--count", "5", "-o", "parquet", "-w", "run.parquet", "--where", "version != 7")
    with cli.running(*asked) as process:
        cli_support.wait_for(process, "attached on_enter")
        cli_support.getppid(5)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "map cli_versions" in out
    table = pq.read_table(tmp_path / "run.parquet")
    assert table["pid"].to_pylist() == [os.getpid()] * 5
    assert table.schema.metadata[b"bpfctl.where"] == b"version != 7"
