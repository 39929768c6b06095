# SPDX-License-Identifier: Apache-2.0
"""Package opensnoop: files opened a known number of times, each told once."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.kernel.traced_package import Child, Perf, Traced, needs_package

pytestmark = needs_package("opensnoop")

OPEN = {"x86_64": 2, "armv7l": 5}
"""open(2), which newer architectures do not have."""
OPENAT2 = 437

OPENS = """
for n in range(int(sys.argv[2])):
    try:
        os.close(os.open(f"{sys.argv[1]}{n}", os.O_RDONLY))
    except OSError:
        pass
"""


def traced(**settings: object) -> closing[Traced]:
    return closing(Traced("opensnoop", settings, ring="opens"))


def test_a_file_is_told_with_flags_mode_and_descriptor(tmp_path: Path) -> None:
    path = str(tmp_path / "new")
    with traced(pid=os.getpid(), comm=_comm()) as watch:
        fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o640)
        os.close(fd)
        (event,) = [each for each in watch.take(1) if each["path"] == path]
    assert event["fd"] == fd
    assert event["error"] == "NONE"
    flags = set(event["flags"].split("|"))
    assert {"O_CREAT", "O_RDWR", "O_TRUNC", "O_CLOEXEC"} <= flags
    assert event["mode"] == "0o640"
    assert (event["pid"], event["uid"], event["comm"]) == (os.getpid(), os.getuid(), _comm())
    assert event["directory"] == -100
    assert event["cut"] is False
    assert 0 < event["duration_ns"] < 10**10


def test_a_failure_is_told_with_its_error(tmp_path: Path) -> None:
    path = str(tmp_path / "nothing")
    with traced(pid=os.getpid(), failed="true") as watch:
        os.close(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(FileNotFoundError):
            os.open(path, os.O_WRONLY)
        (event,) = watch.take(1)
    assert (event["path"], event["fd"], event["error"]) == (path, -1, "ENOENT")


def test_a_name_is_told_with_the_folder_it_begins_at(tmp_path: Path) -> None:
    (tmp_path / "name").touch()
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with traced(pid=os.getpid()) as watch:
            os.close(os.open("name", os.O_RDONLY, dir_fd=folder))
            (event,) = watch.take(1)
    finally:
        os.close(folder)
    assert (event["path"], event["directory"]) == ("name", folder)


def test_open_and_openat2_are_told_too() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    how = struct.pack("=QQQ", os.O_RDONLY, 0, 0)
    with traced(pid=os.getpid()) as watch:
        fds = [libc.syscall(OPENAT2, -100, b"/dev/null", how, len(how))]
        if (number := OPEN.get(platform.machine())) is not None:
            fds.append(libc.syscall(number, b"/dev/null", os.O_RDONLY, 0))
        for fd in fds:
            assert fd >= 0
            os.close(fd)
        events = watch.take(len(fds))
    assert [each["fd"] for each in events] == fds
    assert {each["path"] for each in events} == {"/dev/null"}


def test_a_path_that_is_too_long_is_cut_and_says_so(tmp_path: Path) -> None:
    just, longer = "/" * 1021 + "x", "/" * 1022 + "x"
    with traced(pid=os.getpid()) as watch:
        for path in (just, longer):
            with pytest.raises(FileNotFoundError):
                os.open(path, os.O_RDONLY)
        one, other = watch.take(2)
    assert (one["path"], one["cut"]) == (just, False)
    assert (other["path"], other["cut"]) == ("/" * 1022, True)


def test_a_path_that_cannot_be_read_is_empty() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with traced(pid=os.getpid()) as watch:
        assert libc.open(ctypes.c_void_p(8), os.O_RDONLY) == -1
        (event,) = watch.take(1)
    assert (event["path"], event["error"]) == ("", "EFAULT")


def test_only_the_users_and_cgroups_that_were_asked_for(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    with Child(OPENS, path, "1") as process:
        ids = {"uid": os.getuid() + 1, "cgroup": 2**63, "netns": 1, "comm": "another"}
        own = {"uid": os.getuid(), "netns": os.stat("/proc/self/ns/net").st_ino}
        with traced(pid=process.pid, **own) as wanted, ExitStack() as stack:
            others = [
                stack.enter_context(traced(pid=process.pid, **{name: value}))
                for name, value in ids.items()
            ]
            process.go()
            assert [each["path"] for each in wanted.rest()].count(f"{path}0") == 1
            assert [each.rest() for each in others] == [[]] * len(others)


def test_every_open_of_a_process_that_ends_is_counted_as_perf_does(tmp_path: Path) -> None:
    with Child(OPENS, str(tmp_path / "f"), "500") as process, traced(pid=process.pid) as watch:
        perf = Perf(process.pid, "syscalls:sys_enter_openat", "syscalls:sys_exit_openat")
        perf.ready()
        process.go()
        counts = perf.counts()
        events = watch.rest()
        assert watch.lost() == 0
    own = [each for each in events if each["path"].startswith(str(tmp_path))]
    assert [each["path"] for each in own] == [f"{tmp_path}/f{n}" for n in range(500)]
    assert counts["syscalls:sys_enter_openat"] == len(events)
    assert counts["syscalls:sys_exit_openat"] == len(events)


def test_events_faster_than_the_reader_are_counted_as_lost(tmp_path: Path) -> None:
    with (
        Child(OPENS, str(tmp_path / "f"), "2000") as process,
        traced(pid=process.pid, events_bytes=65536) as watch,
    ):
        process.go()
        told, lost = len(watch.rest()), watch.lost()
    assert lost > 0
    # What Python opens at its end is told or lost, too.
    assert 2000 <= told + lost < 2050


def test_a_pid_that_does_not_exist_has_no_events() -> None:
    with traced(pid=2**22 + 1) as watch:
        os.close(os.open("/dev/null", os.O_RDONLY))
        assert watch.rest() == []
        assert watch.size("calls") == 0


def _comm() -> str:
    return Path("/proc/self/comm").read_text().rstrip("\n")
