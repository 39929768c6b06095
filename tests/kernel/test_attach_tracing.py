# SPDX-License-Identifier: Apache-2.0
"""tracepoint, raw_tracepoint and tp_btf: events of this process, counted with a cookie."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator

import pytest

from bpfd import attach, errors
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import ATOMIC, OVERLAP, Program
from bpfd.kernel import perf_event, syscall, tracefs
from bpfd.v1 import attach_pb2
from tests.kernel.clang import GETPRIORITY
from tests.kernel.hooks_support import Programs, needs_root, open_fds, programs

pytestmark = [
    *needs_root,
    pytest.mark.skipif(
        platform.machine() not in GETPRIORITY,
        reason="the number of getpriority(2) is not known for this machine",
    ),
]

COOKIE = 0x1122334455667788


@pytest.fixture
def loaded() -> Iterator[Programs]:
    if not tracefs.events("syscalls"):
        pytest.skip("this kernel has no tracepoints of system calls")
    with programs() as found:
        yield found


def fire() -> None:
    os.getpriority(os.PRIO_PROCESS, 0)


def point(kind: str, cookie: int = 0) -> attach_pb2.AttachPoint:
    match kind:
        case "tracepoint":
            wanted = attach_pb2.Tracepoint(
                category="syscalls", name="sys_enter_getpriority", cookie=cookie
            )
            return attach_pb2.AttachPoint(tracepoint=wanted)
        case "raw_tracepoint":
            raw = attach_pb2.RawTracepoint(name="sys_enter", cookie=cookie)
            return attach_pb2.AttachPoint(raw_tracepoint=raw)
        case _:
            return attach_pb2.AttachPoint(tp_btf=attach_pb2.TpBtf(cookie=cookie))


KINDS = pytest.mark.parametrize("kind", ["tracepoint", "raw_tracepoint", "tp_btf"])


@KINDS
def test_events_are_counted_with_their_cookie(loaded: Programs, kind: str) -> None:
    try:
        attachment = attach.attach(loaded[kind], point(kind, COOKIE))
    except errors.NotSupported as error:
        pytest.skip(str(error))
    fire()
    assert (loaded.hits(kind), loaded.hits("cookie")) == (1, COOKIE)
    attachment.close()
    fire()
    assert loaded.hits(kind) == 1


@KINDS
def test_no_cookie(loaded: Programs, kind: str) -> None:
    attachment = attach.attach(loaded[kind], point(kind))
    fire()
    assert (loaded.hits(kind), loaded.hits("cookie")) == (1, 0)
    attachment.close()


def test_update_overlaps_and_replaces_the_link(loaded: Programs) -> None:
    attachment = attach.attach(loaded["tp_btf"], point("tp_btf"))
    before = loaded.links()
    fire()
    assert attachment.update(loaded["tp_btf_other"]) == OVERLAP
    assert loaded.links() != before
    fire()
    fire()
    assert (loaded.hits("tp_btf"), loaded.hits("other")) == (1, 2)
    with pytest.raises(
        errors.InvalidArgument,
        match="tp_btf_exit was loaded for something else than tp_btf_other",
    ):
        attachment.update(loaded["tp_btf_exit"])
    fire()
    assert loaded.hits("other") == 3
    attachment.close()


def test_update_that_fails_keeps_the_old(loaded: Programs) -> None:
    attachment = attach.attach(loaded["tracepoint"], point("tracepoint"))
    for wrong in (loaded["tracepoint_far"], loaded["xdp_drop"]):
        with pytest.raises(errors.BpfdError):
            attachment.update(wrong)
    fire()
    assert loaded.hits("tracepoint") == 1
    attachment.close()


def test_the_same_program_twice_is_busy(loaded: Programs) -> None:
    first = attach.attach(loaded["tracepoint"], point("tracepoint"))
    with pytest.raises(errors.AttachBusy, match="itself"):
        attach.attach(loaded["tracepoint"], point("tracepoint"))
    first.close()


def test_a_program_that_reads_too_far(loaded: Programs) -> None:
    with pytest.raises(errors.KernelError, match="reads beyond the tracepoint's record"):
        attach.attach(loaded["tracepoint_far"], point("tracepoint"))


def test_kernel_without_perf_links(loaded: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(perf_event, "link_create", refuse)
    attachment = attach.attach(loaded["tracepoint"], point("tracepoint"))
    assert (attachment.method, attachment.pinnable) == ("perf ioctl", False)
    fire()
    assert loaded.hits("tracepoint") == 1
    attachment.close()
    fire()
    assert loaded.hits("tracepoint") == 1
    before = open_fds()
    with pytest.raises(errors.NotSupported, match="cookies"):
        attach.attach(loaded["tracepoint"], point("tracepoint", COOKIE))
    assert open_fds() == before


def test_missing_tracepoint(loaded: Programs) -> None:
    wanted = point("tracepoint")
    wanted.tracepoint.name = "sys_enter_getpriorty"
    with pytest.raises(errors.NotFound) as caught:
        attach.attach(loaded["tracepoint"], wanted)
    assert caught.value.near[0] == "syscalls/sys_enter_getpriority"

    wanted.tracepoint.category = "syscall"
    with pytest.raises(errors.NotFound) as caught:
        attach.attach(loaded["tracepoint"], wanted)
    assert caught.value.kind == "tracepoint category"
    assert "syscalls" in caught.value.near

    wanted.tracepoint.category, wanted.tracepoint.name = "sock", "sched_switch"
    with pytest.raises(errors.NotFound, match="sched/sched_switch exists"):
        attach.attach(loaded["tracepoint"], wanted)

    for bad in ("", "..", "a/b", "x\0"):
        wanted.tracepoint.category = bad
        with pytest.raises(errors.InvalidArgument, match=r"tracepoint\.category"):
            attach.attach(loaded["tracepoint"], wanted)


def test_missing_raw_tracepoint(loaded: Programs) -> None:
    wanted = point("raw_tracepoint")
    wanted.raw_tracepoint.name = "sched_swich"
    with pytest.raises(errors.NotFound) as caught:
        attach.attach(loaded["raw_tracepoint"], wanted)
    assert caught.value.near[0] == "sched_switch"
    wanted.raw_tracepoint.name = "sys_enter_openat"
    with pytest.raises(errors.NotFound, match="use sys_enter"):
        attach.attach(loaded["raw_tracepoint"], wanted)
    wanted.raw_tracepoint.name = "sched/sched_switch"
    with pytest.raises(errors.InvalidArgument, match="without category: 'sched_switch'"):
        attach.attach(loaded["raw_tracepoint"], wanted)


def test_wrong_types(loaded: Programs) -> None:
    for kind in ("tracepoint", "raw_tracepoint", "tp_btf"):
        with pytest.raises(errors.InvalidArgument, match=f"{kind} takes"):
            attach.attach(loaded["xdp_drop"], point(kind))
    found = loaded["tp_btf"]
    entry = Program(found.fd, found.id, found.name, found.type, expected_attach_type=24)
    with pytest.raises(errors.InvalidArgument, match="something else than tp_btf"):
        attach.attach(entry, point("tp_btf"))


@KINDS
def test_a_pinned_link_is_adopted(loaded: Programs, kind: str) -> None:
    first = attach.attach(loaded[kind], point(kind))
    pin = f"/sys/fs/bpf/hk-{os.getpid()}"
    syscall.obj_pin(first.fds[0], pin)
    try:
        first.release()
        fire()
        assert loaded.hits(kind) == 1
        fd = syscall.obj_get(pin)
    finally:
        os.unlink(pin)
    told = find_point([fd])
    # Before Linux 6.6 the link of a tracepoint does not tell which it is: a note must.
    assert told == point(kind) or (kind == "tracepoint" and not told.ByteSize())
    adopted = adopt([fd], point(kind))
    assert adopted.method == first.method
    assert adopted.update(loaded[kind]) == ATOMIC  # it is the same
    other = loaded[f"{kind}_other"]
    assert adopted.update(other) == OVERLAP
    assert loaded.links_become(1)
    fire()
    assert (loaded.hits(kind), loaded.hits("other")) == (1, 1)
    adopted.close()
    assert loaded.links_become(0)
    fire()
    assert loaded.hits("other") == 1
