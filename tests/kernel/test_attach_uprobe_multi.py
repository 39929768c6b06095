# SPDX-License-Identifier: Apache-2.0
"""uprobe_multi: functions of a library made here, by name, pattern and offset, with one link
where the kernel has it and with one for each function where it has not."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfd import attach, errors
from bpfd.attach import probes
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import OVERLAP, Attachment, Program
from bpfd.features import PROBES
from bpfd.kernel import perf_event, syscall
from bpfd.kernel.symbols import ElfFile
from bpfd.v1 import attach_pb2
from tests.kernel.hooks_support import needs_root
from tests.kernel.probed_library import Counted, OtherProcess, build, counted, library

pytestmark = needs_root

SOURCE = """
int um_one(int a) { return a + 1; }
int um_two(int a) { return a + 2; }
int um_three(int a) { return a + 3; }
int other_one(int a) { return a + 4; }
/* In the file, which .bss is not. */
unsigned short um_semaphore __attribute__((section(".probes"))) = 0;
int um_raised(int a) { return *(volatile unsigned short *)&um_semaphore; }
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(tmp_path_factory.mktemp("um"), "um", SOURCE)


@pytest.fixture(scope="module")
def lib(path: str) -> ctypes.CDLL:
    return library(path)


@pytest.fixture(params=["MULTI", "PLAIN"])
def programs(request: pytest.FixtureRequest) -> Iterator[Counted]:
    """MULTI takes one link where the kernel has it; PLAIN one link for each place."""
    if "uprobe" not in perf_event.sources():
        pytest.skip("this kernel has no uprobes")
    with counted("uprobes", request.param) as found:
        yield found


def point(path: str, **fields: object) -> attach_pb2.AttachPoint:
    request = attach_pb2.UprobeMulti(binary=path, **fields)  # type: ignore[arg-type]
    return attach_pb2.AttachPoint(uprobe_multi=request)


def offset(path: str, name: str) -> int:
    with ElfFile(path) as file:
        return file.functions(name)[0].file_offset


def call_all(lib: ctypes.CDLL) -> None:
    for name in ("um_one", "um_two", "um_three", "other_one"):
        getattr(lib, name)(1)


def is_one_link(program: Program) -> bool:
    try:
        PROBES["uprobe multi link"].run()
    except OSError:
        return False
    return program.expected_attach_type != 0


def check_method(attachment: Attachment, program: Program, places: int) -> None:
    if is_one_link(program):
        assert (attachment.method, len(attachment.fds)) == ("uprobe multi link", 1)
    else:
        assert (attachment.method, len(attachment.fds)) == ("perf link", places)


def test_functions_by_name_with_their_cookies(
    programs: Counted, path: str, lib: ctypes.CDLL
) -> None:
    wanted = point(path, functions=["um_two", "um_one"], cookies=[2, 1])
    attachment = attach.attach(programs["program"], wanted)
    check_method(attachment, programs["program"], 2)
    call_all(lib)
    lib.um_two(1)
    assert programs.runs == {1: 1, 2: 2}
    attachment.close()
    call_all(lib)
    assert programs.runs == {1: 1, 2: 2}


def test_functions_by_pattern(programs: Counted, path: str, lib: ctypes.CDLL) -> None:
    attachment = attach.attach(programs["program"], point(path, pattern="um_*"))
    check_method(attachment, programs["program"], 4)
    call_all(lib)
    assert programs.runs == {0: 3}
    attachment.close()


def test_functions_by_file_offset(programs: Counted, path: str, lib: ctypes.CDLL) -> None:
    offsets = [offset(path, "um_one"), offset(path, "other_one")]
    wanted = point(path, file_offsets=offsets, cookies=[3, 5])
    attachment = attach.attach(programs["program"], wanted)
    call_all(lib)
    assert programs.runs == {3: 1, 5: 1}
    attachment.close()


def test_returns(programs: Counted, path: str, lib: ctypes.CDLL) -> None:
    attachment = attach.attach(programs["program"], point(path, pattern="um_t*", ret=True))
    call_all(lib)
    assert programs.runs == {0: 2}
    attachment.close()


def test_only_one_process(programs: Counted, path: str, lib: ctypes.CDLL) -> None:
    programs.only(0)
    with OtherProcess(path) as child:
        wanted = point("libum.so", functions=["um_one", "um_two"], cookies=[1, 2])
        wanted.uprobe_multi.pid = child.pid
        attachment = attach.attach(programs["program"], wanted)
        call_all(lib)
        assert programs.runs == {}
        child.call("um_two")
        assert programs.runs == {2: 1}
        attachment.close()


def test_a_semaphore_is_raised_while_attached(
    programs: Counted, path: str, lib: ctypes.CDLL
) -> None:
    semaphore = ctypes.c_ushort.in_dll(lib, "um_semaphore")
    base = ctypes.addressof(semaphore)
    where = _file_offset_of(base)
    wanted = point(
        path, functions=["um_one", "um_two"], semaphore_offsets=[where, where], cookies=[1, 2]
    )
    assert lib.um_raised(0) == 0
    attachment = attach.attach(programs["program"], wanted)
    assert lib.um_raised(0) == 2
    attachment.close()
    assert lib.um_raised(0) == 0


def _file_offset_of(address: int) -> int:
    """By /proc/self/maps: the bytes of the file that are mapped there."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, start, _, inode, *_ = line.split()
        low, high = (int(each, 16) for each in span.split("-"))
        if low <= address < high and inode != "0":
            return address - low + int(start, 16)
    raise AssertionError("the variable is in no file")


def test_a_session_sees_entry_and_return(path: str, lib: ctypes.CDLL) -> None:
    with counted("uprobes", "SESSION") as programs:
        wanted = point(path, functions=["um_one", "um_two"], session=True)
        try:
            attachment = attach.attach(programs["program"], wanted)
        except errors.NotSupported as error:
            pytest.skip(str(error))
        call_all(lib)
        assert programs.runs == {0: 4}
        attachment.close()


def test_another_program_takes_over(programs: Counted, path: str, lib: ctypes.CDLL) -> None:
    wanted = point(path, functions=["um_one", "um_two"], cookies=[1, 2])
    attachment = attach.attach(programs["program"], wanted)
    assert attachment.update(programs["other"]) == OVERLAP
    call_all(lib)
    assert programs.runs == {9: 1, 10: 1}
    attachment.close()


def test_a_pinned_link_is_adopted(programs: Counted, path: str, lib: ctypes.CDLL) -> None:
    wanted = point(path, functions=["um_one", "um_two"], cookies=[1, 2], ret=True)
    first = attach.attach(programs["program"], wanted)
    pins = [f"/sys/fs/bpf/um-{os.getpid()}-{index}" for index in range(len(first.fds))]
    for fd, pin in zip(first.fds, pins, strict=True):
        syscall.obj_pin(fd, pin)
    try:
        first.release()
        adopted = adopt([syscall.obj_get(pin) for pin in pins])
    finally:
        for pin in pins:
            os.unlink(pin)
    found = find_point(adopted.fds).uprobe_multi
    if not found.file_offsets:
        adopted.close()
        pytest.skip("this kernel does not tell where such a link is")
    assert found.binary == path
    assert found.ret
    assert dict(zip(found.file_offsets, found.cookies, strict=True)) == {
        offset(path, "um_one"): 1,
        offset(path, "um_two"): 2,
    }
    call_all(lib)
    assert programs.runs == {1: 1, 2: 1}
    assert adopted.update(programs["other"]) == OVERLAP
    adopted.close()


def test_what_is_not_there(programs: Counted, path: str) -> None:
    program = programs["program"]
    with pytest.raises(errors.NotFound) as caught:
        attach.attach(program, point(path, functions=["um_one", "um_on"]))
    assert caught.value.near[0] == "um_one"
    with pytest.raises(errors.NotFound, match="none of the"):
        attach.attach(program, point(path, pattern="nothing_*"))
    with pytest.raises(errors.NotFound, match="binary"):
        attach.attach(program, point(f"{path}.none", pattern="*"))
    with pytest.raises(errors.InvalidArgument, match="no code at"):
        attach.attach(program, point(path, file_offsets=[1 << 40]))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "give one of functions, pattern and file_offsets"),
        ({"functions": ["um_one"], "pattern": "*"}, "give one of"),
        ({"functions": ["um_one"], "cookies": [1, 2]}, r"cookies: 2 for 1 functions"),
        ({"pattern": "um_t*", "semaphore_offsets": [1]}, "1 for 2 functions"),
        ({"functions": ["um_one"], "session": True, "ret": True}, "by itself"),
    ],
)
def test_requests_that_contradict_themselves(
    programs: Counted, path: str, fields: dict[str, object], said: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=said):
        attach.attach(programs["program"], point(path, **fields))


def test_more_places_than_files(
    path: str, programs: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_one_link(programs["program"]):
        pytest.skip("one link takes one file")
    monkeypatch.setattr(probes, "MAX_EVENTS", 2)
    with pytest.raises(errors.LimitExceeded, match="limited to 2, asked for 4"):
        attach.attach(programs["program"], point(path, pattern="um_*"))
