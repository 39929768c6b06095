# SPDX-License-Identifier: Apache-2.0
"""Package execsnoop: programs started a known number of times, each told once."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.kernel.traced_package import Child, Perf, Traced, needs_package

pytestmark = needs_package("execsnoop")

RUNS = """
for n in range(int(sys.argv[1])):
    if not (pid := os.fork()):
        try:
            os.execv(sys.argv[2], sys.argv[3:])
        except OSError:
            os._exit(0)
    os.waitpid(pid, 0)
"""
REPLACES = """
try:
    os.execv(sys.argv[1], sys.argv[2:])
except OSError:
    pass
"""


def traced(**settings: object) -> closing[Traced]:
    return closing(Traced("execsnoop", settings, ring="starts"))


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A program with a name of its own that does nothing."""
    path = tmp_path / "pk-exec"
    found = shutil.which("true")
    if found is None or Path(found).resolve().name in ("busybox", "coreutils"):
        path.write_text(f"#!{sys.executable}\n")
    else:
        shutil.copy(found, path)
    path.chmod(0o755)
    return str(path)


def test_a_program_is_told_with_its_arguments(program: str) -> None:
    words = ["pk", "two words", "", "it's", "ä"]
    with Child(REPLACES, program, *words) as process, traced(pid=process.pid) as watch:
        process.go()
        event = watch.take(1)[0] if _is_binary(program) else watch.rest()[0]
    assert (event["file"], event["pid"], event["parent_pid"]) == (
        program,
        process.pid,
        os.getpid(),
    )
    assert event["error"] == "NONE"
    assert event["uid"] == os.getuid()
    assert event["comm"] == "pk-exec"
    assert event["cut"] is False
    if _is_binary(program):
        assert event["arguments"] == """pk 'two words' '' 'it'"'"'s' 'ä'"""
        assert event["arguments_bytes"] == sum(len(word.encode()) + 1 for word in words)


def test_arguments_beyond_the_bound_are_cut_and_it_is_said(program: str) -> None:
    if not _is_binary(program):
        pytest.skip("no program is at hand that can be copied")
    for length, cut in ((4096 - len("pk") - 2, False), (4096 - len("pk") - 1, True)):
        with (
            Child(REPLACES, program, "pk", "x" * length) as process,
            traced(pid=process.pid) as watch,
        ):
            process.go()
            (event,) = watch.take(1)
        assert event["cut"] is cut
        assert event["arguments_bytes"] == length + 4
        assert event["arguments"] == "pk " + "x" * (4096 - 4 if not cut else 4096 - 3)


def test_a_program_that_cannot_be_started_is_told_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    for name, error in (("missing", "ENOENT"), ("text", "EACCES")):
        path = str(tmp_path / name)
        with (
            Child(REPLACES, path, "one", "two words") as process,
            traced(pid=process.pid, failed="true") as watch,
        ):
            process.go()
            (event,) = watch.take(1)
            assert watch.size("calls") == 0
        assert (event["file"], event["error"], event["cut"]) == (path, error, False)
        assert event["arguments"] == "one 'two words'"
        assert event["pid"] == process.pid


def test_arguments_of_what_fails_are_bounded_too(tmp_path: Path) -> None:
    path = str(tmp_path / "missing")
    for words in ([str(n) for n in range(100)], ["y" * 300], ["z" * 200] * 30):
        with Child(REPLACES, path, *words) as process, traced(pid=process.pid) as watch:
            process.go()
            (event,) = watch.take(1)
        assert event["cut"] is True
        told = event["arguments"].split(" ")
        assert all(word.startswith(some) for some, word in zip(told, words, strict=False))
        assert len(told) >= min(len(words), 19)


def test_every_start_is_counted_as_perf_does(program: str) -> None:
    with (
        Child(RUNS, "50", program, "pk", "x") as process,
        traced(cgroup=_cgroup()) as watch,
    ):
        perf = Perf(process.pid, "sched:sched_process_exec", "syscalls:sys_enter_execve")
        perf.ready()
        process.go()
        counts = perf.counts()
        events = [each for each in watch.rest() if each["file"] == program]
        assert watch.lost() == 0
    assert len(events) == len({each["pid"] for each in events}) == 50
    assert {each["parent_pid"] for each in events} == {process.pid}
    assert counts["sched:sched_process_exec"] == counts["syscalls:sys_enter_execve"] == 50


def test_failures_are_all_counted_and_runs_are_left_out(tmp_path: Path) -> None:
    path = str(tmp_path / "missing")
    with Child(RUNS, "50", path, "pk") as process, traced(failed="true") as watch:
        process.go()
        events = [each for each in watch.rest() if each["file"] == path]
        assert watch.lost() == 0
    assert len(events) == 50
    assert {each["error"] for each in events} == {"ENOENT"}
    assert {each["parent_pid"] for each in events} == {process.pid}


def _is_binary(path: str) -> bool:
    return Path(path).read_bytes()[:4] == b"\x7fELF"


def _cgroup() -> int:
    """Of this process in the hierarchy of version 2; 0 where its folder is not to be found."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
                if os.path.exists(f"{root}/cgroup.procs"):
                    return os.stat(f"{root}{line[3:]}").st_ino
    return 0
