# SPDX-License-Identifier: Apache-2.0
"""usdt: probes of a library made here, with arguments in registers, memory and the code, and
one of the Python that runs this."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from collections.abc import Iterator

import pytest

from bpfd import attach, errors
from bpfd.attach import usdt_specs
from bpfd.attach.adopt import adopt
from bpfd.attach.attachment import OVERLAP
from bpfd.kernel import perf_event, syscall
from bpfd.kernel.symbols import ElfFile
from bpfd.kernel.usdt_notes import probes
from bpfd.v1 import attach_pb2
from tests.kernel.hooks_support import needs_root
from tests.kernel.probed_library import Counted, OtherProcess, build, counted, library
from tests.kernel.usdt_library import SOURCE

pytestmark = needs_root

COOKIE = 0x1122334455667788


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(tmp_path_factory.mktemp("us"), "us", SOURCE)


@pytest.fixture(scope="module")
def lib(path: str) -> ctypes.CDLL:
    return library(path)


@pytest.fixture(params=["PLAIN", "MULTI"])
def programs(request: pytest.FixtureRequest) -> Iterator[Counted]:
    if "uprobe" not in perf_event.sources():
        pytest.skip("this kernel has no uprobes")
    with counted("usdt", request.param) as found:
        yield found


def point(path: str, name: str = "work", **fields: object) -> attach_pb2.AttachPoint:
    request = attach_pb2.Usdt(binary=path, provider="bpfd", name=name, **fields)  # type: ignore[arg-type]
    return attach_pb2.AttachPoint(usdt=request)


def runs(programs: Counted) -> int:
    return programs.word(0, "said")


def said(programs: Counted) -> list[int]:
    """What the last run was given: as many arguments as it says."""
    words = [programs.word(3 + index, "said") for index in range(programs.word(1, "said"))]
    return [word - (1 << 64) if word >> 63 else word for word in words]


def used_specs(programs: Counted) -> int:
    fd = programs.loaded.maps["__bpf_usdt_specs"].fd
    keys = (struct.pack("=I", index) for index in range(256))
    return sum(any(syscall.map_lookup_elem(fd, key, 208)) for key in keys)


def test_arguments_of_every_place(programs: Counted, path: str, lib: ctypes.CDLL) -> None:
    attachment = attach.attach(programs["program"], point(path, cookie=COOKIE))
    lib.us_one(-5)
    assert (runs(programs), said(programs)) == (1, [7, -5, 5])
    assert programs.word(2, "said") == COOKIE
    lib.us_two(33)
    assert (runs(programs), said(programs)) == (2, [33, 9, 1033])
    assert used_specs(programs) == 2
    attachment.close()
    lib.us_one(1)
    assert runs(programs) == 2
    assert used_specs(programs) == 0


def test_a_program_that_asks_for_nothing(
    programs: Counted, path: str, lib: ctypes.CDLL
) -> None:
    attachment = attach.attach(programs["other"], point(path, "bare", cookie=COOKIE))
    lib.us_three(1)
    assert (runs(programs), programs.word(2, "said")) == (1, COOKIE)
    attachment.close()


def test_no_arguments(programs: Counted, path: str, lib: ctypes.CDLL) -> None:
    attachment = attach.attach(programs["program"], point(path, "bare"))
    lib.us_three(1)
    assert (runs(programs), said(programs)) == (1, [])
    assert used_specs(programs) == 1
    attachment.close()


def test_the_semaphore_is_raised(programs: Counted, path: str, lib: ctypes.CDLL) -> None:
    assert lib.us_raised(0) == 0
    attachment = attach.attach(programs["program"], point(path))
    assert lib.us_raised(0) == 2
    attachment.close()
    assert lib.us_raised(0) == 0


def test_only_one_process(programs: Counted, path: str, lib: ctypes.CDLL) -> None:
    programs.only(0)
    with OtherProcess(path) as child:
        attachment = attach.attach(programs["program"], point("libus.so", pid=child.pid))
        lib.us_one(3)
        assert runs(programs) == 0
        child.call("us_one")
        assert (runs(programs), said(programs)) == (1, [7, 1, -1])
        attachment.close()


def test_two_attachments_share_what_is_alike(
    programs: Counted, path: str, lib: ctypes.CDLL
) -> None:
    first = attach.attach(programs["program"], point(path))
    second = attach.attach(programs["program"], point(path, pid=os.getpid()))
    third = attach.attach(programs["program"], point(path, cookie=1))
    assert used_specs(programs) == 4
    lib.us_one(3)
    first.close()
    third.close()
    assert used_specs(programs) == 2
    lib.us_two(4)
    assert said(programs) == [4, 9, 1004]
    second.close()
    assert used_specs(programs) == 0


def test_another_program_takes_over(programs: Counted, path: str, lib: ctypes.CDLL) -> None:
    attachment = attach.attach(programs["other"], point(path, cookie=5))
    assert attachment.update(programs["program"]) == OVERLAP
    lib.us_one(8)
    assert (runs(programs), said(programs), programs.word(2, "said")) == (1, [7, 8, -8], 5)
    assert attachment.update(programs["other"]) == OVERLAP
    assert used_specs(programs) == 0
    lib.us_one(9)
    assert (runs(programs), programs.word(2, "said")) == (2, 5)
    attachment.close()


def test_a_pinned_link_is_adopted(
    programs: Counted, path: str, lib: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = attach.attach(programs["program"], point(path))
    pins = [f"/sys/fs/bpf/us-{os.getpid()}-{index}" for index in range(len(first.fds))]
    for fd, pin in zip(first.fds, pins, strict=True):
        syscall.obj_pin(fd, pin)
    try:
        first.release()
        monkeypatch.setattr(usdt_specs, "_written", type(usdt_specs._written)())
        adopted = adopt([syscall.obj_get(pin) for pin in pins], point(path))
    finally:
        for pin in pins:
            os.unlink(pin)
    other = attach.attach(programs["program"], point(path, "bare"))
    lib.us_one(2)
    assert said(programs) == [7, 2, -2]
    other.close()
    assert adopted.update(programs["program"]) == OVERLAP or runs(programs) == 1
    lib.us_two(2)
    assert said(programs) == [2, 9, 1002]
    adopted.close()


def test_what_is_not_there(programs: Counted, path: str) -> None:
    program = programs["program"]
    with pytest.raises(errors.NotFound) as caught:
        attach.attach(program, point(path, "wrk"))
    assert caught.value.near[0] == "bpfd:work"
    with pytest.raises(errors.InvalidArgument, match=r"usdt\.name"):
        attach.attach(program, point(path, ""))
    assert used_specs(programs) == 0


def test_a_probe_of_a_real_program(programs: Counted) -> None:
    python = os.path.realpath("/usr/bin/python3")
    names = set()
    if os.path.exists(python):
        with ElfFile(python) as file:
            names = {(each.provider, each.name) for each in probes(file)}
    if ("python", "gc__start") not in names:
        pytest.skip("there is no Python with probes")
    code = "import gc\ngc.disable()\nwhile number := input():\n    gc.collect(int(number))\n"
    command = [python, "-c", f"{code}    print(flush=True)"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("0\n")
        child.stdout.readline()
        programs.only(0)
        wanted = attach_pb2.Usdt(binary=python, provider="python", name="gc__start")
        wanted.pid = child.pid
        attachment = attach.attach(programs["program"], attach_pb2.AttachPoint(usdt=wanted))
        for count, generation in enumerate((1, 2), 1):
            child.stdin.write(f"{generation}\n")
            child.stdout.readline()
            assert (runs(programs), said(programs)) == (count, [generation])
        attachment.close()
        child.stdin.write("\n")
