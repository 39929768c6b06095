# SPDX-License-Identifier: Apache-2.0
"""sk_msg and sk_skb, by links and without: what sockets of a map send and receive."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from bpfd import attach, errors
from bpfd.attach import sockmap
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import ATOMIC
from bpfd.kernel import syscall
from bpfd.kernel.constants import AttachType
from bpfd.v1 import attach_pb2, common_pb2
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import needs_root
from tests.kernel.numbered import Numbered, numbered

pytestmark = needs_root

Point = attach_pb2.AttachPoint
MSG = AttachType.SK_MSG_VERDICT


@pytest.fixture
def loaded() -> Iterator[Numbered]:
    with numbered("sockmap") as found:
        yield found


@pytest.fixture(params=["link", "no link"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How programs are attached; the kernel at hand may have no links."""
    if request.param == "no link":
        monkeypatch.setattr(sockmap, "has_link", lambda: False)
        return sockmap.NO_LINK
    if not sockmap.has_link():
        pytest.skip("this kernel has no links for sockmaps (since 6.10)")
    return sockmap.LINK


def msg(loaded: Numbered, name: str = "sockets") -> Point:
    return Point(sk_msg=attach_pb2.SkMsg(map=common_pb2.MapRef(id=loaded.map_id(name))))


def skb(loaded: Numbered, hook: str = "") -> Point:
    number = attach_pb2.SkSkbHook.Value(f"SK_SKB_HOOK_{hook or 'UNSPECIFIED'}")
    reference = common_pb2.MapRef(id=loaded.map_id("sockets"))
    return Point(sk_skb=attach_pb2.SkSkb(map=reference, hook=number))


@dataclass
class Connection:
    """Both ends of a TCP connection of this process."""

    near: socket.socket
    far: socket.socket


@contextmanager
def connection() -> Iterator[Connection]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname(), 20)
        far = server.accept()[0]
    far.settimeout(20)
    with near, far:
        yield Connection(near, far)


def put(loaded: Numbered, made: socket.socket, key: int) -> None:
    value = struct.pack("=I", made.fileno())
    syscall.map_update_elem(loaded.map_fd("sockets"), struct.pack("=I", key), value)


def attached(loaded: Numbered, attach_type: int) -> list[int]:
    return syscall.prog_query(loaded.map_fd("sockets"), attach_type)[0]


def test_nothing_can_be_sent(loaded: Numbered, method: str) -> None:
    with connection() as made, connection() as later:
        attachment = attach.attach(loaded["forbid"], msg(loaded))
        assert attachment.method == method
        put(loaded, made.near, 0)
        with pytest.raises(PermissionError):
            made.near.send(b"hello")
        assert (loaded.runs, loaded.seen) == (1, 5)
        attachment.close()
        assert attached(loaded, MSG) == []
        put(loaded, later.near, 1)
        later.near.send(b"hello")
        assert later.far.recv(10) == b"hello"
        assert loaded.runs == 1


def test_what_is_sent_arrives_elsewhere(loaded: Numbered, method: str) -> None:
    with connection() as first, connection() as second:
        attachment = attach.attach(loaded["shorten"], msg(loaded))
        put(loaded, first.near, 0)
        put(loaded, second.far, 1)
        first.near.send(b"hello")
        assert second.far.recv(10) == b"hello"
        assert loaded.runs == 1
        attachment.close()


@pytest.mark.parametrize(
    ("hooks", "programs"),
    [
        (["VERDICT"], ["to_second"]),
        (["STREAM_PARSER", "STREAM_VERDICT"], ["whole", "stream_to_second"]),
        ([""], ["to_second"]),
    ],
    ids=["verdict", "stream", "as loaded"],
)
def test_what_is_received_goes_to_another_socket(
    loaded: Numbered, method: str, hooks: list[str], programs: list[str]
) -> None:
    with connection() as first, connection() as second:
        attachments = [
            attach.attach(loaded[program], skb(loaded, hook))
            for program, hook in zip(programs, hooks, strict=True)
        ]
        assert {each.method for each in attachments} == {method}
        put(loaded, first.far, 0)
        put(loaded, second.far, 1)
        first.near.send(b"hello")
        assert second.far.recv(10) == b"hello"
        assert loaded.runs == 1
        assert loaded.seen == (5 if "whole" in programs else 0)
        for each in attachments:
            each.close()


def test_the_program_is_exchanged(loaded: Numbered, method: str) -> None:
    with connection() as made:
        attachment = attach.attach(loaded["forbid"], msg(loaded))
        assert attachment.update(loaded["allow"]) == ATOMIC
        assert attached(loaded, MSG) == [loaded["allow"].id]
        put(loaded, made.near, 0)
        made.near.send(b"hello")
        assert made.far.recv(10) == b"hello"
        assert loaded.runs == 1
        attachment.close()
    parser = attach.attach(loaded["whole"], skb(loaded, "STREAM_PARSER"))
    with pytest.raises(errors.InvalidArgument, match="loaded for sk_skb_stream_verdict, and"):
        parser.update(loaded["stream_to_second"])
    parser.close()


def test_a_map_has_one_program(loaded: Numbered, method: str) -> None:
    first = attach.attach(loaded["forbid"], msg(loaded))
    words = r"sk_msg of map \d+ .sockets. is taken by program \d+ .forbid."
    with pytest.raises(errors.AttachBusy, match=words):
        attach.attach(loaded["allow"], msg(loaded))
    hashed = attach.attach(loaded["allow"], msg(loaded, "hashed"))
    hashed.close()
    assert attached(loaded, MSG) == [loaded["forbid"].id]
    first.close()
    verdict = attach.attach(loaded["pass"], skb(loaded))
    with pytest.raises(errors.AttachBusy, match="a map has a verdict or a stream verdict"):
        attach.attach(loaded["stream_to_second"], skb(loaded))
    verdict.close()


def test_maps_and_programs_that_do_not_fit(loaded: Numbered, method: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="array; a sockmap or sockhash is needed"):
        attach.attach(loaded["allow"], msg(loaded, "numbers"))
    with pytest.raises(errors.InvalidArgument, match="sk_msg takes sk_msg"):
        attach.attach(loaded["pass"], msg(loaded))
    with pytest.raises(errors.InvalidArgument, match="loaded for verdict, not for stream_par"):
        attach.attach(loaded["pass"], skb(loaded, "STREAM_PARSER"))
    with pytest.raises(errors.InvalidArgument, match="say which map"):
        attach.attach(loaded["allow"], Point(sk_msg=attach_pb2.SkMsg()))
    gone = Point(sk_msg=attach_pb2.SkMsg(map=common_pb2.MapRef(id=1 << 30)))
    with pytest.raises(errors.NotFound, match="map 'id 1073741824'"):
        attach.attach(loaded["allow"], gone)


def test_a_pinned_link_is_adopted(loaded: Numbered) -> None:
    if not sockmap.has_link():
        pytest.skip("this kernel has no links for sockmaps (since 6.10)")
    for program, point in (("forbid", msg(loaded)), ("whole", skb(loaded, "STREAM_PARSER"))):
        attachment = attach.attach(loaded[program], point)
        pin = f"/sys/fs/bpf/hk-{os.getpid()}"
        syscall.obj_pin(attachment.fds[0], pin)
        try:
            attachment.release()
            adopted = adopt([syscall.obj_get(pin)])
        finally:
            os.unlink(pin)
        assert (adopted.method, find_point(adopted.fds)) == (sockmap.LINK, point)
        if program == "forbid":
            assert adopted.update(loaded["allow"]) == ATOMIC
        adopted.close()


@pytest.fixture
def without_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockmap, "has_link", lambda: False)


@pytest.mark.usefixtures("without_link")
def test_what_a_crash_leaves_is_undone(loaded: Numbered) -> None:
    point = msg(loaded)
    plan = attach.plan(loaded["forbid"], point)
    assert plan is not None
    attach.attach(loaded["forbid"], point, plan).release()
    assert attached(loaded, MSG) == [loaded["forbid"].id]
    again = attach.journal_from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.point() == point
    again.undo()
    assert attached(loaded, MSG) == []
    again.undo()


@pytest.mark.usefixtures("without_link")
def test_a_later_daemon_takes_it_over(loaded: Numbered) -> None:
    plan = attach.plan(loaded["forbid"], msg(loaded))
    assert plan is not None
    attach.attach(loaded["forbid"], msg(loaded), plan).release()
    adopted = attach.adopt_journal(plan)
    assert adopted is not None
    journal = adopted.journal_for(loaded["allow"])
    assert adopted.update(loaded["allow"]) == ATOMIC
    assert attached(loaded, MSG) == [loaded["allow"].id]
    assert journal is not None
    journal.undo()
    assert attached(loaded, MSG) == []
    assert attach.adopt_journal(journal) is None
    with pytest.raises(errors.NotFound, match="someone took it away"):
        adopted.update(loaded["forbid"])
    adopted.close()


@pytest.mark.usefixtures("without_link")
def test_what_someone_else_attached_meanwhile_stays(loaded: Numbered) -> None:
    attachment = attach.attach(loaded["forbid"], msg(loaded))
    syscall.prog_attach(loaded.map_fd("sockets"), loaded["allow"].fd, MSG)
    attachment.close()
    assert attached(loaded, MSG) == [loaded["allow"].id]
    syscall.prog_detach(loaded.map_fd("sockets"), loaded["allow"].fd, MSG)


def test_a_daemon_undoes_what_a_killed_one_left(
    loaded: Numbered, daemon: RunningDaemon
) -> None:
    daemon.stop()
    fd = loaded.map_fd("sockets")
    syscall.prog_attach(fd, loaded["forbid"].fd, MSG)
    journal = sockmap.SockmapJournal(loaded.map_id("sockets"), MSG, (loaded["forbid"].id,))
    folder = daemon.state_dir / "journal"
    folder.mkdir(exist_ok=True)
    note = {"session": True, "undo": journal.to_json()}
    (folder / "x.json").write_text(json.dumps(note))
    daemon.start()
    assert attached(loaded, MSG) == []
    assert not (folder / "x.json").exists()


@pytest.mark.parametrize(
    "change",
    [{"map_id": "x"}, {"program_ids": [-1]}, {"more": 1}, {"kind": "other"}, {"kind": []}],
)
def test_a_damaged_journal(change: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        attach.journal_from_json(sockmap.SockmapJournal(1, MSG, (2,)).to_json() | change)
