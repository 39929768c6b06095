# SPDX-License-Identifier: Apache-2.0
"""Profiles of programs that burn and wait in known functions, each a known share."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from bpfctl.config import LocalTarget
from bpfctl.errors import PermissionMissing
from bpfctl.profiles import files
from bpfctl.profiles.collect import Collector
from bpfctl.profiles.counted import LATE
from bpfctl.profiles.html import PageIncomplete
from bpfctl.profiles.model import Profile, Sample
from bpfctl.profiles.resolve import CUT, RUNNABLE, finished
from bpfctl.profiles.wish import UNWIND_MACHINES, Wish
from bpfctl.symbols import Symbolizer
from bpfctl.symbols.store import Store
from bpfctl.target import Target

from bpfd.kernel import perf_event
from tests.kernel import burner, cli_support, profile_shares
from tests.kernel.cli_support import Cli, wait_for
from tests.kernel.conftest import RunningDaemon

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    cli_support.needs_clang,
]

tables_here = pytest.mark.skipif(
    platform.machine() not in UNWIND_MACHINES, reason="no unwind tables on this processor"
)

SECONDS = 60.0
OFTEN = 997
"""Samples a second, so that the tests are short."""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("burner")
    burner.compile_to(folder, f"pb-{os.getpid()}")
    return folder


@pytest.fixture
def bare(programs: Path) -> Path:
    """The stripped program; its name is of this run alone."""
    return next((programs / "stripped").iterdir())


@pytest.fixture
def cli(
    daemon: RunningDaemon, tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> Cli:
    """The command line, with the unstripped program in its store of symbols."""
    found = cli_support.make(daemon, tmp_path)
    for name in ("BPFCTL_CACHE_DIR", "BPFCTL_DATA_DIR", "BPFCTL_CONFIG_DIR"):
        monkeypatch.setenv(name, found.environment[name])
    Store().add(programs / "unstripped")
    return found


@pytest.fixture
def target(cli: Cli) -> Iterator[Target]:
    with Target.open("here", LocalTarget(socket=str(cli.socket))) as found:
        yield found


@contextmanager
def running(*command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def samples_at_least(collector: Collector, number: int) -> None:
    until = time.monotonic() + SECONDS
    while collector.counted.samples < number:
        assert not collector.ended.is_set()
        assert time.monotonic() < until, f"{collector.counted.samples} samples"
        time.sleep(0.05)


def with_names(collector: Collector) -> Profile:
    """The profile; everything that the program counted is in it."""
    collector.stop()
    assert LATE not in collector.missed
    with Symbolizer(collector.target) as symbols:
        return finished(collector, symbols)


def total(samples: Iterable[Sample], function: str = "", *, runnable: bool = False) -> int:
    return sum(
        sample.value
        for sample in samples
        if (not function or any(frame.name == function for frame in sample.stack))
        and (runnable or sample.stack[-1] != RUNNABLE)
    )


def test_shares_of_a_stripped_program(target: Target, bare: Path, tmp_path: Path) -> None:
    with running(bare, "b") as process:
        wish = Wish(pids=(process.pid,), frequency=OFTEN, event="cpu-clock")
        with Collector(target, wish) as collector:
            samples_at_least(collector, 2000)
            found = with_names(collector)
    assert {(each.pid, each.comm) for each in found.samples} == {(process.pid, bare.name)}
    everything = total(found.samples)
    assert everything >= 2000
    for function, share in burner.SHARES.items():
        measured = 100 * total(found.samples, function) / everything
        assert measured == pytest.approx(share, abs=3), function
    places = {
        (frame.name, Path(frame.file).name, frame.line > 0)
        for sample in found.samples
        for frame in sample.stack
        if frame.name in burner.SHARES
    }
    assert {name for name, _, line in places if line} == set(burner.SHARES)
    files.write(found, tmp_path / "p.pb.gz")
    _check("pprof", profile_shares.of_pprof((tmp_path / "p.pb.gz").read_bytes()), everything)
    files.write(found, tmp_path / "p.folded")
    _check("folded", profile_shares.of_folded((tmp_path / "p.folded").read_text()), everything)
    try:
        files.write(found, tmp_path / "p.html")
    except PageIncomplete as error:
        pytest.skip(f"of .html files: {error}")
    _check("html", profile_shares.of_html((tmp_path / "p.html").read_text()), everything)


def _check(kind: str, found: Mapping[str, int], everything: int) -> None:
    assert found[""] == everything, kind
    for function, share in burner.SHARES.items():
        measured = 100 * found[function] / everything
        assert measured == pytest.approx(share, abs=3), (kind, function)


@tables_here
def test_a_program_without_frame_pointers(target: Target, tmp_path: Path) -> None:
    whole, bare = burner.compile_to(tmp_path, f"nofp-{os.getpid()}", frame_pointers=False)
    Store().add(whole.parent)
    found = {}
    with running(bare, "b") as process:
        for unwind in ("tables", "frame-pointers"):
            wish = Wish(pids=(process.pid,), frequency=OFTEN, kernel=False, unwind=unwind)
            with Collector(target, wish) as collector:
                samples_at_least(collector, 500)
                found[unwind] = with_names(collector)
            assert not collector.without_tables
    by_tables = found["tables"]
    assert not by_tables.missed
    assert total(by_tables.samples, "work") == total(by_tables.samples)
    assert {sample.stack[0].name for sample in by_tables.samples} == {"_start"}
    assert sum(total(by_tables.samples, each) for each in burner.SHARES) >= 0.99 * total(
        by_tables.samples
    )
    by_pointers = found["frame-pointers"].samples
    assert total(by_pointers, "work") < total(by_pointers) / 2


@tables_here
def test_tables_come_while_it_is_sampled(target: Target, tmp_path: Path) -> None:
    """The shell and the C library have no frame pointers; which process it is is not known
    before."""
    program = tmp_path / f"sh-{os.getpid()}"
    program.symlink_to("/bin/sh")
    with running(program, "-c", "while :; do :; done") as process:
        wish = Wish(comm=program.name, frequency=OFTEN, kernel=False)
        with Collector(target, wish) as collector:
            samples_at_least(collector, 1)
            until = time.monotonic() + SECONDS
            while max(map(len, collector.counted.stacks.copy().values()), default=0) < 6:
                assert not collector.ended.is_set()
                assert time.monotonic() < until
                time.sleep(0.1)
            found = with_names(collector)
    assert {sample.pid for sample in found.samples} == {process.pid}
    walked = [sample for sample in found.samples if len(sample.stack) >= 6]
    assert all(any("libc_start" in each.name for each in sample.stack) for sample in walked)
    late = collector.missed["stacks of user space by frame pointers: no tables yet"]
    assert 1 <= late < collector.counted.samples


def test_times_of_a_program_that_waits_and_ends(target: Target, bare: Path) -> None:
    with Collector(target, Wish(off_cpu=True, comm=bare.name)) as collector:
        with running(bare, "n") as process:
            process.wait(SECONDS)
        found = with_names(collector)
    assert found.unit == "nanoseconds"
    for function, once in burner.NAPS.items():
        wanted = burner.ROUNDS * once
        assert total(found.samples, function) == pytest.approx(wanted, rel=0.05), function
    naps = [sample for sample in found.samples if sample.stack[-1].name == "__schedule"]
    assert naps
    assert {frame.name for frame in naps[0].stack} >= {"work", "start", "schedule"}


def test_waits_of_a_length(target: Target, bare: Path) -> None:
    wish = Wish(off_cpu=True, comm=bare.name, min_ns=45_000_000, user=True, kernel=False)
    with Collector(target, wish) as collector:
        with running(bare, "n") as process:
            process.wait(SECONDS)
        found = with_names(collector)
    assert total(found.samples, "long_nap") >= burner.ROUNDS * burner.NAPS["long_nap"]
    assert total(found.samples, "short_nap") < burner.NAPS["long_nap"] * 3
    assert {frame.kind for sample in found.samples for frame in sample.stack} <= {
        "user",
        RUNNABLE.kind,
    }


def test_a_wait_that_does_not_end(target: Target) -> None:
    with running("cat") as process:
        # It is woken once, and then waits until after the profile.
        with Collector(target, Wish(off_cpu=True, pids=(process.pid,))) as collector:
            assert process.stdin is not None
            os.write(process.stdin.fileno(), b"\n")
            time.sleep(0.5)
            found = with_names(collector)
        assert total(found.samples) >= 0.4e9
        assert total(found.samples) <= found.duration_s * 1e9


def test_stacks_deeper_than_the_kernel_takes(target: Target, bare: Path) -> None:
    with running(bare, "d") as process:
        wish = Wish(pids=(process.pid,), frequency=OFTEN, event="cpu-clock")
        with Collector(target, wish) as collector:
            samples_at_least(collector, 50)
            found = with_names(collector)
    assert found.missed["stacks that are deeper than 127 frames"] >= 50
    deepest = max(found.samples, key=lambda sample: sample.value)
    assert deepest.stack[0] == CUT
    assert {frame.name for frame in deepest.stack[1:]} == {"deep"}
    assert len(deepest.stack) == 128


_THREADS = """
import threading, time
threading.stack_size(65536)
end = time.monotonic() + 60
def nap():
    while time.monotonic() < end:
        time.sleep(0.2)
for _ in range(1000):
    threading.Thread(target=nap, daemon=True).start()
print("ready", flush=True)
time.sleep(60)
"""


def test_a_thousand_threads(target: Target) -> None:
    process = subprocess.Popen([sys.executable, "-c", _THREADS], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        wish = Wish(off_cpu=True, pids=(process.pid,), per="thread")
        with Collector(target, wish) as collector:
            until = time.monotonic() + SECONDS
            while len({key.tid for key in collector.counted.sums.copy()}) < 1000:
                assert time.monotonic() < until
                time.sleep(0.1)
            counted = collector.stop()
    finally:
        process.kill()
        process.communicate()
    assert {key.pid for key in counted.sums} == {process.pid}
    assert len({key.tid for key in counted.sums}) >= 1000
    assert "samples: the map was full" not in collector.missed


def test_children_are_followed(target: Target, bare: Path) -> None:
    # A shell that forks for each of two commands, and not before it is told.
    script = f"read line; {bare} b & {bare} b & wait"
    with running("sh", "-c", script) as shell:
        wish = Wish(pids=(shell.pid,), follow=True, frequency=OFTEN, event="cpu-clock")
        with Collector(target, wish) as collector:
            assert shell.stdin is not None
            shell.stdin.write(b"go\n")
            shell.stdin.flush()
            samples_at_least(collector, 100)
            counted = collector.stop()
        children = {key.pid for key in counted.sums if key.comm == bare.name}
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert len(children) == 2
    assert shell.pid not in children


@contextmanager
def cgroup(target: Target, *names: str) -> Iterator[list[Path]]:
    mount = next(each.path for each in target.info().mounts if each.type == "cgroup2")
    made: list[Path] = []
    try:
        for name in names:
            folder = Path(mount, name)
            folder.mkdir()
            made.append(folder)
        yield made
    finally:
        for folder in reversed(made):
            folder.rmdir()


def test_a_cgroup_with_what_is_below_it(target: Target, bare: Path) -> None:
    own = f"pb-{os.getpid()}"
    with cgroup(target, own, f"{own}/below", f"{own}-other") as (above, below, other):
        with running(bare, "b") as inside, running(bare, "b"):
            (below / "cgroup.procs").write_text(f"{inside.pid}\n")
            wish = Wish(cgroup=str(above), frequency=OFTEN, event="cpu-clock")
            with Collector(target, wish) as collector:
                samples_at_least(collector, 100)
                counted = collector.stop()
            assert {key.pid for key in counted.sums} == {inside.pid}
            wish = Wish(cgroup=other.name, frequency=OFTEN, event="cpu-clock")
            with Collector(target, wish) as collector:
                time.sleep(0.3)
                assert collector.stop().samples == 0
        _until_empty(below)


def _until_empty(folder: Path) -> None:
    until = time.monotonic() + SECONDS
    while (folder / "cgroup.procs").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_what_finds_no_room_is_counted(
    target: Target, monkeypatch: pytest.MonkeyPatch, bare: Path
) -> None:
    monkeypatch.setattr(Wish, "stacks", lambda *_: 2)
    with running(bare, "b"), Collector(target, Wish(off_cpu=True)) as collector:
        samples_at_least(collector, 10)
        counted = collector.stop()
        events = collector._turns.events()
    waits_here = events["ADDED"] - events["SUMS_FULL"] - events["SUMS_BUSY"]
    assert events["SUMS_FULL"] > 0
    assert collector.missed["samples: the map was full"] == events["SUMS_FULL"]
    assert collector.missed["stacks: the map was full"] == events["STACKS_FULL"]
    # Those that wait to this moment are added by the client.
    assert counted.samples >= waits_here
    assert collector.missed.get(LATE, 0) == 0


def test_the_command_lists_the_hottest(cli: Cli, bare: Path) -> None:
    with running(bare, "b") as process:
        rows = cli.json("profile", "--pid", str(process.pid), "-d", "1s", "-F", str(OFTEN))
        both = cli.try_("profile", "--user-only", "--kernel-only")
    assert [row["function"] for row in rows[:2]] == ["half", "third"]
    whole = {row["function"]: row for row in rows}["work"]
    assert whole["total_percent"] == 100
    assert both.returncode == 2


def test_the_command_writes_a_file(cli: Cli, bare: Path, tmp_path: Path) -> None:
    taken = tmp_path / "p.pb.gz"
    with running(bare, "b") as process:
        done = cli.try_(
            *("profile", "--pid", str(process.pid), "-d", "500ms", "-F", str(OFTEN)),
            *("--event", "cpu-clock", "-o", str(taken)),
        )
    assert done.stdout == f"written: {taken}\n"
    assert f"Hz (cpu-clock) of process {process.pid}: " in done.stderr
    assert profile_shares.of_pprof(taken.read_bytes())["half"] > 0
    cli("profile", "convert", str(taken), str(tmp_path / "p.folded"))
    assert f"\n{bare.name};" in "\n" + (tmp_path / "p.folded").read_text()


def test_ctrl_c_ends_it_with_what_is_there(cli: Cli, bare: Path) -> None:
    with (
        running(bare, "b") as process,
        cli.started(
            *("profile", "--pid", str(process.pid), "-F", str(OFTEN), "-d", "10m"),
            *("--event", "cpu-clock", "-o", "json"),
        ) as command,
    ):
        _wait_for_object(cli)
        time.sleep(1)
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=SECONDS)
    assert command.returncode == 0, err
    assert '"half"' in out
    assert cli.json("object", "list") == []


def _wait_for_object(cli: Cli) -> None:
    until = time.monotonic() + SECONDS
    while not [each for each in cli.json("object", "list") if each["links"]]:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_client_that_dies_leaves_nothing(cli: Cli) -> None:
    with cli.started("profile", "-d", "10m") as command:
        wait_for(command, "sampling by cpu-clock")
        command.kill()
        command.wait(SECONDS)
    until = time.monotonic() + SECONDS
    while cli.json("object", "list"):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_more_often_than_the_kernel_allows(cli: Cli) -> None:
    limit = perf_event.max_sample_rate()
    said = cli.refused(2, "profile", "-F", str(limit + 1))
    assert f"kernel.perf_event_max_sample_rate, {limit}" in said
    assert "process" in cli.refused(4, "profile", "--pid", "4194304")


def test_a_viewer_may_not(cli: Cli) -> None:
    read_only = str(cli.socket).replace("bpfd.sock", "bpfd-ro.sock")
    with (
        Target.open("viewer", LocalTarget(socket=read_only)) as viewer,
        pytest.raises(PermissionMissing),
        Collector(viewer, Wish()),
    ):
        pass
