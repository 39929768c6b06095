# SPDX-License-Identifier: Apache-2.0
"""Iterators: over tasks, maps, the entries of a map and cgroups, read out and compared with
what this process knows itself."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bpfd import attach, errors
from bpfd.attach import iterator
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import ATOMIC, Attachment, Program
from bpfd.features import PROBES
from bpfd.kernel import cgroup, elf_object, syscall
from bpfd.kernel.load_options import Loaded, LoadOptions
from bpfd.v1 import attach_pb2, links_pb2
from tests.kernel import clang
from tests.kernel.api import SWITCHES, Api, refused
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import needs_root, open_fds, own_cgroup

pytestmark = needs_root


def need_iterators() -> None:
    try:
        PROBES["iterator"].run()
    except OSError as error:
        pytest.skip(f"this kernel has no iterators: {error.strerror}")


@contextmanager
def loaded(kind: str) -> Iterator[Loaded]:
    need_iterators()
    elf = clang.compiled("iterators", kind)
    before = open_fds()
    found = elf_object.load("iterators", elf, LoadOptions())
    try:
        yield found
    finally:
        found.close()
    assert open_fds() <= before, "files are left open"


def program(found: Loaded, name: str = "program") -> Program:
    each = found.programs[name]
    return Program(each.fd, each.id, name, each.type, each.expected_attach_type)


def point(**fields: object) -> attach_pb2.AttachPoint:
    request = attach_pb2.Iterator(**fields)  # type: ignore[arg-type]
    return attach_pb2.AttachPoint(iterator=request)


def over(found: Loaded) -> attach_pb2.AttachPoint:
    wanted = point()
    wanted.iterator.map.id = found.maps["entries"].id
    return wanted


def read(attachment: Attachment, limit: int = 0) -> str:
    stream = iterator.opened(attachment.fds, "it")
    return b"".join(iterator.pieces(stream, limit)).decode()


def fill(found: Loaded, entries: dict[int, int]) -> None:
    for key, value in entries.items():
        fd = found.maps["entries"].fd
        syscall.map_update_elem(fd, struct.pack("=I", key), struct.pack("=Q", value))


def test_tasks() -> None:
    with loaded("TASK") as found:
        attachment = attach.attach(program(found), point())
        assert attachment.method == "iterator link"
        lines = read(attachment).splitlines()
        assert f"{os.getpid()} {threading.get_native_id()}" in lines
        assert f"{os.getppid()} {os.getppid()}" in lines
        attachment.close()


def test_only_one_task_and_only_one_process() -> None:
    with loaded("TASK") as found:
        tid = threading.get_native_id()
        attachment = attach.attach(program(found), point(tid=tid))
        assert read(attachment) == f"{os.getpid()} {tid}\n"
        attachment.close()
        attachment = attach.attach(program(found), point(pid=os.getpid()))
        lines = read(attachment).splitlines()
        attachment.close()
        assert {line.split()[0] for line in lines} == {str(os.getpid())}
        with pytest.raises(errors.NotFound, match="process"):
            attach.attach(program(found), point(pid=(1 << 22) + 1))


def test_every_reading_is_a_run_of_its_own() -> None:
    with loaded("ENTRIES") as found:
        fill(found, {1: 10, 2: 20})
        attachment = attach.attach(program(found), over(found))
        assert sorted(read(attachment).splitlines()) == ["1=10", "2=20"]
        fill(found, {3: 30})
        assert sorted(read(attachment).splitlines()) == ["1=10", "2=20", "3=30"]
        attachment.close()


def test_maps() -> None:
    with loaded("MAP") as found:
        attachment = attach.attach(program(found), point())
        assert str(found.maps["entries"].id) in read(attachment).splitlines()
        attachment.close()


def test_a_cgroup() -> None:
    with loaded("CGROUP") as found, own_cgroup() as path:
        wanted = point()
        wanted.iterator.cgroup.path = path
        attachment = attach.attach(program(found), wanted)
        (line,) = read(attachment).splitlines()
        assert cgroup.same(int(line), os.stat(path).st_ino)
        known = find_point(attachment.fds).iterator
        if known.HasField("cgroup"):
            assert known.cgroup.path == path
        attachment.close()


def test_another_program_takes_over_between_two_runs() -> None:
    with loaded("TASK") as found:
        attachment = attach.attach(program(found), point(pid=os.getpid()))
        begun = iterator.pieces(iterator.opened(attachment.fds, "it"))
        assert attachment.update(program(found, "other")) == ATOMIC
        assert set(read(attachment).splitlines()) == {"other"}
        assert "other" not in b"".join(begun).decode()
        attachment.close()


def test_one_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iterator, "MAX_VAIN_READS", 20)
    with loaded("ENDLESS") as found:
        attachment = attach.attach(program(found), point())
        with pytest.raises(errors.LimitExceeded, match="return 1"):
            read(attachment)
        attachment.close()


def test_no_more_than_was_asked_for() -> None:
    with loaded("TASK") as found:
        attachment = attach.attach(program(found), point())
        whole = read(attachment)
        assert len(read(attachment, len(whole) + 4096)) > 5
        stream = iterator.pieces(iterator.opened(attachment.fds, "it"), 5)
        assert next(stream) == whole[:5].encode()
        with pytest.raises(errors.LimitExceeded, match="limited to 5"):
            next(stream)
        attachment.close()


def test_a_pinned_one_is_adopted() -> None:
    with loaded("ENTRIES") as found:
        fill(found, {7: 70})
        first = attach.attach(program(found), over(found))
        pin = f"/sys/fs/bpf/it-{os.getpid()}"
        syscall.obj_pin(first.fds[0], pin)
        try:
            first.release()
            adopted = adopt([syscall.obj_get(pin)])
        finally:
            os.unlink(pin)
        assert (adopted.hook.name, adopted.method) == ("iterator", "iterator link")
        assert find_point(adopted.fds).iterator.map.id == found.maps["entries"].id
        assert read(adopted) == "7=70\n"
        adopted.close()


def test_bad_requests() -> None:
    with loaded("ENTRIES") as found:
        with pytest.raises(errors.KernelError, match="map="):
            attach.attach(program(found), point())
        with pytest.raises(errors.InvalidArgument, match="cgroup_order"):
            attach.attach(program(found), point(cgroup_order=2))
        wanted = point()
        wanted.iterator.map.id = 1 << 30
        with pytest.raises(errors.NotFound, match="map"):
            attach.attach(program(found), wanted)
    with pytest.raises(errors.InvalidArgument, match="but no iterator"):
        attach.attach(Program(-1, 0, "p", 26, 24), point())


def test_through_the_daemon(daemon: RunningDaemon) -> None:
    need_iterators()
    with daemon.channel() as channel, daemon.channel(viewer=True) as viewing:
        api = Api(channel)
        with api.session() as lifetime:
            api.load("it", clang.compiled("iterators", "TASK"), lifetime)
            link = api.attach("it/program", point())
            by_name = links_pb2.ReadLinkRequest(name=link.name)
            lines = b"".join(each.data for each in api.links.Read(by_name)).splitlines()
            assert b"%d %d" % (os.getpid(), os.getpid()) in lines
            by_id = links_pb2.ReadLinkRequest(link_id=link.link_ids[0], max_bytes=4)
            with refused("limit_exceeded"):
                list(api.links.Read(by_id))
            with refused("permission_missing"):
                list(Api(viewing).links.Read(by_name))
            with refused("not_found"):
                list(api.links.Read(links_pb2.ReadLinkRequest(name="it/prog")))
            with refused("not_found"):
                list(api.links.Read(links_pb2.ReadLinkRequest(link_id=1 << 30)))
            with refused("invalid_argument"):
                list(api.links.Read(links_pb2.ReadLinkRequest()))


def test_what_is_no_iterator_cannot_be_read(daemon: RunningDaemon) -> None:
    with daemon.channel() as channel:
        api = Api(channel)
        with api.session() as lifetime:
            api.load("one", clang.compiled("objects"), lifetime)
            link = api.attach("one/count_switches", SWITCHES)
            with refused("invalid_argument") as found:
                list(api.links.Read(links_pb2.ReadLinkRequest(name=link.name)))
            assert "is no iterator" in found.text
