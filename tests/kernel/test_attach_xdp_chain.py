# SPDX-License-Identifier: Apache-2.0
"""Several XDP programs on one interface: who runs, in which order, and for how long."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from bpfd import attach, errors
from bpfd.attach.attachment import ATOMIC, Attachment, Program
from bpfd.kernel import elf_object, interface, netns, syscall
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.kernel.load_options import Loaded, LoadOptions
from bpfd.v1 import attach_pb2
from tests.kernel import clang
from tests.kernel.chain_support import DROP, PASS, TX, Counters, counters, place
from tests.kernel.hooks_support import Pair, needs_root, open_fds, veth_pair, xdp

pytestmark = needs_root


@dataclass
class Members:
    """Programs that can be members, and their counters."""

    loaded: Loaded
    counters: Counters

    def __getitem__(self, name: str) -> Program:
        return program(self.loaded, name)

    def at(self, pair: Pair, *places: tuple[str, int]) -> list[Attachment]:
        """Attaches programs at priorities."""
        return [attach.attach(self[name], place(pair, number)) for name, number in places]


def program(loaded: Loaded, name: str) -> Program:
    found = loaded.programs[name]
    return Program(found.fd, found.id, name, found.type, found.expected_attach_type)


@pytest.fixture
def members() -> Iterator[Members]:
    before = open_fds()
    loaded = elf_object.load("chain", clang.compiled("xdp_chain"), LoadOptions())
    ids = {name: item.id for name, item in loaded.maps.items()}
    with counters(ids) as found:
        yield Members(loaded, found)
    loaded.close()
    assert open_fds() <= before, "files are left open"


@pytest.fixture
def pair() -> Iterator[Pair]:
    with veth_pair() as found:
        yield found


@contextmanager
def detached(attachments: list[Attachment]) -> Iterator[list[Attachment]]:
    try:
        yield attachments
    finally:
        for each in attachments:
            each.close()


def turns(members: Members, pair: Pair) -> list[int]:
    """Who runs for one packet, in its order."""
    members.counters.turns()
    pair.send(b"one")
    found = members.counters.turns()
    # Frames of the kernel's own may have come along.
    length = next((n for n in range(1, len(found)) if found[n] == found[0]), len(found))
    return found[:length]


def state(pair: Pair) -> interface.XdpState:
    with netns.entered(f"/run/netns/{pair.near}"):
        return interface.xdp_state(interface.index_of("hk0"))


def test_the_order_is_that_of_priorities(members: Members, pair: Pair) -> None:
    places = [("member0", 50), ("member1", 10), ("member2", 4_000_000_000), ("member3", 20)]
    with detached(members.at(pair, *places)) as attached:
        assert turns(members, pair) == [1, 3, 0, 2]
        assert [each.method for each in attached] == [
            f"native, {index} of 4 in a chain" for index in (3, 1, 4, 2)
        ]
        assert len({link for each in attached for link in each.fds}) == 4
        attached.pop(1).close()
        assert turns(members, pair) == [3, 0, 2]
        attached += members.at(pair, ("member1", 30))
        assert turns(members, pair) == [3, 1, 0, 2]
    assert state(pair).program_ids == ()


def test_who_goes_on_is_said_by_the_return_code(members: Members, pair: Pair) -> None:
    points = [place(pair, 1), place(pair, 2, DROP, TX), place(pair, 3)]
    names = ("member0", "member1", "member2")
    pairs = zip(names, points, strict=True)
    attached = [attach.attach(members[name], point) for name, point in pairs]
    with detached(attached), pair.receiver() as receiver:
        assert turns(members, pair) == [0, 1]  # 1 passes, and goes on after DROP and TX
        assert receiver.recv(10) == b"one"
        for verdict in (DROP, TX):
            members.counters.set_verdict(1, verdict)
            assert turns(members, pair) == [0, 1, 2]
            assert receiver.recv(10) == b"one"  # the last one's verdict counts
        members.counters.set_verdict(2, DROP)
        assert turns(members, pair) == [0, 1, 2]
        members.counters.set_verdict(0, DROP)
        assert turns(members, pair) == [0]
        receiver.setblocking(False)
        with pytest.raises(BlockingIOError):
            receiver.recv(10)


def test_twenty_members(members: Members, pair: Pair) -> None:
    attached: list[Attachment] = []
    with detached(attached):
        for index in range(20):
            point = place(pair, 100 - index)
            attached.append(attach.attach(members[f"member{index % 5}"], point))
        members.counters.turns()
        pair.send(b"one")
        expected = [index % 5 for index in reversed(range(20))]
        assert members.counters.turns()[:20] == expected


def test_packets_are_changed_from_one_to_the_next(members: Members, pair: Pair) -> None:
    places = [("moves", 1), ("sees", 2), ("calls", 3)]
    with detached(members.at(pair, *places)), pair.receiver() as receiver:
        assert turns(members, pair) == [5, 6, 7]
        assert receiver.recv(10) == b"one"


@pytest.mark.parametrize(("define", "runs"), [("TAIL_CALL", 1), ("LOOP", 3), ("STACK", 1)])
def test_members_with_more(members: Members, pair: Pair, define: str, runs: int) -> None:
    """A tail call ends its member alone; callbacks are known by the merged BTF."""
    elf = clang.compiled("xdp_special", define)
    try:
        loaded = elf_object.load("special", elf, LoadOptions())
    except errors.VerifierRejected as error:
        if "callbacks are not allowed in non-JITed programs" in error.log:
            pytest.skip("this kernel's JIT has no functions, and so no callbacks")
        raise
    fd = loaded.maps["chain_special"].fd
    try:
        with detached(members.at(pair, ("member0", 1), ("member1", 30))) as attached:
            refusal = None
            try:
                attached.append(attach.attach(program(loaded, "special"), place(pair, 20)))
            except errors.NotSupported as error:
                refusal = error
            if refusal is not None:  # kernels whose JIT has no tail calls in functions say so
                assert define == "TAIL_CALL", refusal
                assert "the tail calls of special inside a chain" in refusal.feature
                return
            with pair.receiver() as receiver:
                before = struct.unpack("=Q", syscall.map_lookup_elem(fd, bytes(4), 8))[0]
                assert turns(members, pair) == [0, 1]
                assert receiver.recv(10) == b"one"
                after = struct.unpack("=Q", syscall.map_lookup_elem(fd, bytes(4), 8))[0]
            assert after - before >= runs
    finally:
        loaded.close()


def test_a_member_is_exchanged_in_its_place(members: Members, pair: Pair) -> None:
    places = [("member0", 1), ("member1", 2), ("member2", 3)]
    with detached(members.at(pair, *places)) as attached:
        assert attached[1].running() == [members["member1"].id]
        assert attached[1].update(members["member3"]) == ATOMIC
        assert attached[1].running() == [members["member3"].id]
        assert turns(members, pair) == [0, 3, 2]
        with pytest.raises(errors.InvalidArgument, match="fragments"):
            attached[1].update(members["takes_frags"])
        assert turns(members, pair) == [0, 3, 2]


def test_all_take_fragments_or_none(members: Members, pair: Pair) -> None:
    with detached(members.at(pair, ("member0", 1))):
        with pytest.raises(errors.InvalidArgument) as caught:
            attach.attach(members["takes_frags"], place(pair, 2))
        assert "takes_frags takes packets in several fragments" in str(caught.value)
        assert "member0 does not" in str(caught.value)
        assert turns(members, pair) == [0]
    with detached(members.at(pair, ("takes_frags", 1), ("takes_frags", 2))):
        members.counters.turns()
        pair.send(b"one")
        assert members.counters.turns()[:2] == [0, 0]


def test_a_priority_is_taken_once(members: Members, pair: Pair) -> None:
    with detached(members.at(pair, ("member0", 7))):
        with pytest.raises(errors.AttachBusy) as caught:
            attach.attach(members["member1"], place(pair, 7))
        assert caught.value.program_id == members["member0"].id
        assert "priority 7 in the chain of interface hk0" in caught.value.point
        assert "member0" in caught.value.owner


def test_alone_and_in_a_chain_exclude_each_other(members: Members, pair: Pair) -> None:
    with detached(members.at(pair, ("member0", 7), ("member1", 8))):
        with pytest.raises(errors.AttachBusy) as caught:
            attach.attach(members["member2"], xdp(pair))
        assert "a chain of 2 (7: member0" in caught.value.owner
        assert "xdp:hk0,priority=NUMBER" in caught.value.owner
    with detached([attach.attach(members["member0"], xdp(pair))]):
        with pytest.raises(errors.AttachBusy) as caught:
            attach.attach(members["member2"], place(pair, 7))
        assert caught.value.program_id == members["member0"].id
        assert "detach it, and attach it again" in caught.value.owner


def test_the_mode_is_the_chains(members: Members, pair: Pair) -> None:
    generic = place(pair, 1, mode=attach_pb2.XDP_MODE_GENERIC)
    with detached([attach.attach(members["member0"], generic)]) as attached:
        native = place(pair, 2, mode=attach_pb2.XDP_MODE_NATIVE)
        with pytest.raises(errors.InvalidArgument, match="mode=generic"):
            attach.attach(members["member1"], native)
        attached.append(attach.attach(members["member1"], place(pair, 2)))
        assert attached[1].method == "generic, 2 of 2 in a chain"
        assert turns(members, pair) == [0, 1]


def test_bad_requests_touch_nothing(members: Members, pair: Pair) -> None:
    for proceed in ((5,), (2, 77)):
        with pytest.raises(errors.InvalidArgument, match="no return code of XDP"):
            attach.attach(members["member0"], place(pair, 1, *proceed))
    with pytest.raises(errors.InvalidArgument, match="say its priority"):
        attach.attach(members["member0"], place(pair, 0, PASS))
    with pytest.raises(errors.InvalidArgument, match="devmap"):
        attach.attach(members["for_devmap"], place(pair, 1))
    fd = syscall.prog_load(ProgType.XDP, RETURN_PASS, "GPL", name="foreign")
    try:
        with pytest.raises(errors.NotSupported, match="did not load it"):
            attach.attach(Program(fd, 1, "foreign", ProgType.XDP), place(pair, 1))
    finally:
        os.close(fd)
    assert state(pair).program_ids == ()


RETURN_PASS = struct.pack("=BBhi", 0xB7, 0, 0, PASS) + struct.pack("=BBhi", 0x95, 0, 0, 0)


def test_an_interface_that_goes_takes_the_chain_along(members: Members, pair: Pair) -> None:
    attached = members.at(pair, ("member0", 1), ("member1", 2))
    pair.ip("link", "del", "hk0")
    with pytest.raises(errors.KernelError, match="is gone"):
        attached[0].update(members["member2"])
    for each in attached:
        each.close()


def dispatcher_config() -> bytes:
    """Version 2, two programs: the first goes on after PASS and the default, at 10."""
    actions = [1 << PASS | 1 << 31, 1 << DROP] + [0] * 8
    priorities = [10, 50] + [0] * 8
    return struct.pack("=BBBB10I10I10I", 236, 2, 2, 0, *actions, *priorities, *[0] * 10)


def test_a_dispatcher_of_libxdp_is_left_as_it_is(members: Members, pair: Pair) -> None:
    """One of the same name and variables, pinned as libxdp does it."""
    config = dispatcher_config()
    map_fd = syscall.map_create(2, 4, len(config), 1, name="xdp_disp.rodata")
    syscall.map_update_elem(map_fd, bytes(4), config)
    load_map = struct.pack("=BBhi", 0x18, 0x11, 0, map_fd) + bytes(8)
    fd = syscall.prog_load(
        ProgType.XDP,
        load_map + RETURN_PASS,
        "GPL",
        name="xdp_dispatcher",
        expected_attach_type=AttachType.XDP,
    )
    with netns.entered(f"/run/netns/{pair.near}"):
        index = interface.index_of("hk0")
        link = syscall.link_create(fd, index, AttachType.XDP)
        number = interface.xdp_state(index).native
    folder = f"/sys/fs/bpf/chain-{os.getpid()}/dispatch-{index}-{number}"
    os.makedirs(folder)
    pin = f"{folder}/prog0-prog"
    try:
        syscall.obj_pin(members["member0"].fd, pin)
        for point in (place(pair, 5), xdp(pair)):
            with pytest.raises(errors.AttachBusy) as caught:
                attach.attach(members["member1"], point)
            busy = caught.value
            assert busy.program_id == number
            assert "a dispatcher of libxdp, which runs " in busy.owner
            first = (
                f"program {members['member0'].id} (member0) (priority 10, goes on after pass)"
            )
            assert first in busy.owner
            assert "cannot be seen (priority 50, goes on after drop)" in busy.owner
            assert "xdp-loader status hk0" in busy.owner
        assert state(pair).native == number
    finally:
        os.unlink(pin)
        os.rmdir(folder)
        os.rmdir(os.path.dirname(folder))
        for each in (link, fd, map_fd):
            os.close(each)
