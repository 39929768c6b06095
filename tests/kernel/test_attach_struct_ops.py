# SPDX-License-Identifier: Apache-2.0
"""struct_ops: a TCP congestion control that carries traffic between two network namespaces."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from bpfd import attach, errors
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import ATOMIC, Attachment, Program
from bpfd.kernel import elf_object, netns, struct_ops, syscall
from bpfd.kernel.load_options import Loaded, LoadOptions
from bpfd.v1 import attach_pb2, common_pb2, links_pb2, objects_pb2
from tests.kernel import clang
from tests.kernel.api import Api, refused
from tests.kernel.conftest import MakeDaemon, RunningDaemon
from tests.kernel.hooks_support import Pair, needs_root, open_fds, veth_pair

pytestmark = needs_root

NAME = b"bpfd_counting"
SENT = os.urandom(1 << 20)


@contextlib.contextmanager
def loaded(*defines: str) -> Iterator[Loaded]:
    """Skips with the kernel's reason where it has no struct_ops."""
    elf = clang.compiled("struct_ops", *defines)
    before = open_fds()
    try:
        found = elf_object.load("struct_ops", elf, LoadOptions())
    except errors.NotSupported as error:
        pytest.skip(str(error))
    try:
        yield found
    finally:
        found.close()
    assert open_fds() <= before, "files are left open"


@pytest.fixture
def pair() -> Iterator[Pair]:
    with veth_pair() as found:
        yield found


def program(found: Loaded) -> Program:
    each = found.programs["cc_cong_avoid"]
    return Program(each.fd, each.id, each.name, each.type, each.expected_attach_type)


def point(found: Loaded) -> attach_pb2.AttachPoint:
    where = common_pb2.MapRef(id=found.maps["counting"].id)
    return attach_pb2.AttachPoint(struct_ops=attach_pb2.StructOps(map=where))


def attached(found: Loaded) -> Attachment:
    try:
        return attach.attach(program(found), point(found))
    except errors.NotSupported as error:
        pytest.skip(str(error))


def grown(found: Loaded) -> int:
    fd = found.maps["grown"].fd
    return int(struct.unpack("=Q", syscall.map_lookup_elem(fd, bytes(4), 8))[0])


def chosen(pair: Pair) -> socket.socket:
    """A TCP socket in the far namespace that uses it; OSError: there is none."""
    with netns.entered(f"/run/netns/{pair.far}"):
        sock = socket.socket()
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, NAME)
    except OSError:
        sock.close()
        raise
    return sock


def carry(pair: Pair, sender: socket.socket) -> bytes:
    """What arrives in the near namespace of a megabyte that is sent in the far one."""
    arrived = bytearray()
    with netns.entered(f"/run/netns/{pair.near}"):
        listener = socket.create_server((pair.address, 0))

    def receive() -> None:
        connection, _ = listener.accept()
        with connection:
            while piece := connection.recv(1 << 16):
                arrived.extend(piece)

    with listener:
        thread = threading.Thread(target=receive)
        thread.start()
        with sender:
            sender.settimeout(30)
            sender.connect(listener.getsockname())
            sender.sendall(SENT)
        thread.join(30)
    return bytes(arrived)


@pytest.mark.parametrize("defines", [(), ("LINK",)], ids=["map", "link"])
def test_it_carries_traffic(pair: Pair, defines: tuple[str, ...]) -> None:
    with loaded(*defines) as found:
        with pytest.raises(FileNotFoundError):
            chosen(pair)
        attachment = attached(found)
        sender = chosen(pair)
        used = sender.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        assert used.rstrip(b"\0") == NAME
        assert carry(pair, sender) == SENT
        assert grown(found) > 10
        attachment.close()
        with pytest.raises(FileNotFoundError):
            chosen(pair)


def test_a_link_can_be_made_again(pair: Pair) -> None:
    with loaded() as found:
        for _ in range(2):
            attachment = attached(found)
            if attachment.method != "struct_ops link":
                attachment.close()
                pytest.skip("this kernel registers a map once")
            with chosen(pair):
                pass
            attachment.close()


def test_without_links_a_map_is_registered_once(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(struct_ops, "has_links", lambda: False)
    with loaded() as found:
        attachment = attached(found)
        assert (attachment.method, attachment.fds) == ("struct_ops map", [])
        assert not attachment.pinnable
        assert carry(pair, chosen(pair)) == SENT
        assert grown(found) > 10
        with pytest.raises(errors.NotSupported, match="exchanging"):
            attachment.update(program(found))
        attachment.close()
        with pytest.raises(FileNotFoundError):
            chosen(pair)
        with pytest.raises(errors.NotSupported, match="load the object again"):
            attach.attach(program(found), point(found))


def test_a_journal_takes_it_over_and_back(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(struct_ops, "has_links", lambda: False)
    with loaded() as found:
        journal = attach.plan(program(found), point(found))
        assert journal is not None
        attachment = attached(found)
        attachment.release()
        read = attach.journal_from_json(journal.to_json())
        adopted = attach.adopt_journal(read)
        assert adopted is not None
        adopted.release()
        with chosen(pair):
            pass
        read.undo()
        with pytest.raises(FileNotFoundError):
            chosen(pair)
        read.undo()
    assert attach.adopt_journal(read) is None


def test_another_version_takes_over_while_in_use(pair: Pair) -> None:
    with loaded() as first, loaded("SECOND") as second:
        attachment = attached(first)
        if attachment.method != "struct_ops link":
            attachment.close()
            pytest.skip("this kernel does not exchange a struct_ops")
        assert carry(pair, chosen(pair)) == SENT
        assert attachment.update(program(second)) == ATOMIC
        assert carry(pair, chosen(pair)) == SENT
        assert grown(second) > 10
        assert grown(second) % 2 == 0
        assert find_point(attachment.fds) == point(second)
        attachment.close()
        with pytest.raises(FileNotFoundError):
            chosen(pair)


def test_a_pinned_link_is_adopted(pair: Pair) -> None:
    with loaded() as found:
        first = attached(found)
        if not first.fds:
            first.close()
            pytest.skip("this kernel has no links for struct_ops")
        pin = f"/sys/fs/bpf/so-{os.getpid()}"
        syscall.obj_pin(first.fds[0], pin)
        try:
            first.release()
            adopted = adopt([syscall.obj_get(pin)])
        finally:
            os.unlink(pin)
        assert (adopted.hook.name, adopted.method) == ("struct_ops", "struct_ops link")
        assert find_point(adopted.fds) == point(found)
        with chosen(pair):
            pass
        adopted.close()


def test_a_name_that_is_taken_and_a_map_that_is_none(pair: Pair) -> None:
    with loaded() as first, loaded("SECOND") as second:
        attachment = attached(first)
        with pytest.raises(errors.AttachBusy, match="same name"):
            attach.attach(program(second), point(second))
        attachment.close()
        wrong = point(second)
        wrong.struct_ops.map.id = second.maps["grown"].id
        with pytest.raises(errors.InvalidArgument, match="is no struct_ops"):
            attach.attach(program(second), wrong)


def test_an_object_is_replaced_and_outlives_the_daemon(
    pair: Pair, make_daemon: MakeDaemon
) -> None:
    with loaded() as probe:
        attachment = attached(probe)
        links = bool(attachment.fds)
        attachment.close()
    if not links:
        pytest.skip("this kernel does not exchange a struct_ops")
    daemon: RunningDaemon = make_daemon()
    daemon.start()
    lifetime = common_pb2.Lifetime(pinned=common_pb2.Pinned())
    where = attach_pb2.AttachPoint()
    where.struct_ops.map.member.object, where.struct_ops.map.member.name = "cc", "counting"
    with daemon.channel() as channel:
        api = Api(channel)
        api.load("cc", clang.compiled("struct_ops"), lifetime)
        api.attach("cc/cc_cong_avoid", where)
        with refused("attach_busy"):
            api.attach("cc/cc_ssthresh", where)
        api.load("cc", clang.compiled("struct_ops", "SECOND"), lifetime, replace=True)
        assert carry(pair, chosen(pair)) == SENT
    daemon.kill()
    with chosen(pair):
        pass
    daemon.start()
    with daemon.channel() as channel:
        api = Api(channel)
        assert carry(pair, chosen(pair)) == SENT
        (link,) = api.links.List(links_pb2.ListLinksRequest()).links
        assert link.program == "cc_cong_avoid"
        assert link.program_id in {
            each.id
            for each in api.objects.Get(objects_pb2.GetObjectRequest(name="cc")).programs
        }
        assert api.unload("cc") == ["cc/cc_cong_avoid"]
    with pytest.raises(FileNotFoundError):
        chosen(pair)
