# SPDX-License-Identifier: Apache-2.0
"""Chains of a daemon: changed under traffic, killed, adopted, shared by several owners."""

from __future__ import annotations

import os
import random
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest

from bpfd.attach import chain_load
from bpfd.kernel import interface, netns, syscall
from bpfd.kernel.constants import Cmd
from bpfd.v1 import common_pb2, links_pb2, objects_pb2
from tests.kernel import clang
from tests.kernel.api import PINNED, Api, eventually, program, refused
from tests.kernel.chain_support import (
    DROP,
    PASS,
    Counters,
    counters,
    flood,
    place,
    received,
    silence,
)
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import Pair, needs_root, veth_pair, xdp

pytestmark = needs_root

SEED = int(os.environ.get("BPFD_TEST_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
FIRST, LAST = 10, 1_000
"""Priorities."""


@pytest.fixture
def api(channel: grpc.Channel) -> Api:
    return Api(channel)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with veth_pair() as found:
        silence(found)
        yield found


def load(
    api: Api, name: str = "chain", lifetime: common_pb2.Lifetime = PINNED, **fields: bool
) -> dict[str, int]:
    """Kernel ids of the object's maps."""
    answer = api.load(name, clang.compiled("xdp_chain"), lifetime, **fields)
    return {item.name: item.id for item in answer.object.maps}


def links(api: Api) -> dict[str, objects_pb2.Link]:
    found = api.links.List(links_pb2.ListLinksRequest()).links
    return {each.name: each for each in found}


def exchange(api: Api, link: str, to: str) -> links_pb2.UpdateLinkResponse:
    return api.links.Update(links_pb2.UpdateLinkRequest(name=link, program=program(to)))


def runs(pair: Pair) -> list[str]:
    """The members of what the interface runs, by its own account."""
    with netns.entered(f"/run/netns/{pair.near}"):
        state = interface.xdp_state(interface.index_of("hk0"))
    return [each.program for each in chain_load.members_of(state.native)]


@contextmanager
def exact(pair: Pair, found: Counters, *always: int) -> Iterator[Callable[[], int]]:
    """A flood of which each packet meets these members; gives how many there were so far."""

    def state() -> tuple[int, list[int]]:
        return received(pair), [found.hits(each) for each in always]

    # The interface counts a frame after the programs have seen it.
    before = None
    while before != (before := state()):
        time.sleep(0.05)
    base, start = before

    def packets() -> int:
        return received(pair) - base

    with flood(pair, lambda: found.hits(always[0])) as running:
        assert eventually(lambda: packets() > 500)
        yield packets
        so_far = packets()
        assert eventually(lambda: packets() > so_far + 500)

    def counts() -> list[int]:
        return [found.hits(each) - before for each, before in zip(always, start, strict=True)]

    eventually(lambda: counts() == [packets()] * len(always))
    assert counts() == [packets()] * len(always)
    assert packets() >= running.sent


def test_no_packet_misses_the_chain_while_it_changes(api: Api, pair: Pair) -> None:
    """Exchanged, added, removed, its object replaced: the others meet every packet."""
    with counters(load(api)) as found:
        found.set_verdict(3, DROP)
        api.attach("chain/member0", place(pair, FIRST))
        api.attach("chain/member3", place(pair, LAST))
        middle = api.attach("chain/member1", place(pair, 500), name="middle")
        with exact(pair, found, 0, 3) as packets:
            before, start = found.hits(1), packets()
            for turn in range(6):
                answer = exchange(api, "middle", f"chain/member{2 - turn % 2}")
                assert answer.method == links_pb2.UPDATE_METHOD_ATOMIC
            for turn in range(5):
                extra = api.attach("chain/member4", place(pair, 100 + turn))
                api.links.Detach(links_pb2.DetachRequest(name=extra.name))
            for _ in range(2):
                load(api, replace=True)
            assert start > 0
        assert found.hits(1) > before
        assert found.hits(1) + found.hits(2) == found.hits(0)
        assert 0 < found.hits(4) < found.hits(0)
        now = links(api)
        assert now["middle"].link_ids == middle.link_ids  # one kernel link throughout
        assert api.unload("chain") == ["chain/member0", "chain/member3", "middle"]
    assert runs(pair) == []


def test_a_killed_daemon_leaves_the_chain_and_the_next_one_goes_on(
    daemon: RunningDaemon, pair: Pair
) -> None:
    with daemon.channel() as channel:
        api = Api(channel)
        ids = load(api)
        load(api, "other")
        api.attach("chain/member0", place(pair, FIRST))
        api.attach("other/member1", place(pair, 20))
        last = api.attach("chain/member3", place(pair, LAST, PASS, DROP))
        lifetime, _ = _session(api)
        load(api, "brief", lifetime)
        api.attach("brief/member2", place(pair, 30), name="brief", lifetime=lifetime)
        api.attach("chain/member4", place(pair, 40), name="for-now", lifetime=lifetime)
        assert runs(pair) == ["member0", "member1", "member2", "member4", "member3"]
        with counters(ids) as found, exact(pair, found, 0, 3):
            daemon.kill()
            assert runs(pair) == ["member0", "member1", "member2", "member4", "member3"]
            daemon.start()
            with daemon.channel() as second:
                api = Api(second)
                assert runs(pair) == ["member0", "member1", "member3"]
                now = links(api)
                assert sorted(now) == ["chain/member0", "chain/member3", "other/member1"]
                adopted = now["chain/member3"]
                assert adopted.program_id == last.program_id
                assert adopted.point.xdp.priority == LAST
                assert list(adopted.point.xdp.proceed_on) == [PASS, DROP]
                assert adopted.method == "native, 3 of 3 in a chain"
                exchange(api, "other/member1", "other/member2")
                api.attach("other/member4", place(pair, 5))
                load(api, replace=True)
    with daemon.channel() as channel:
        api = Api(channel)
        assert runs(pair) == ["member4", "member0", "member2", "member3"]
        assert sorted(api.unload("chain")) == ["chain/member0", "chain/member3"]
        assert runs(pair) == ["member4", "member2"]
        api.unload("other")
    assert runs(pair) == []


def _busy(api: Api, pair: Pair, changes: list[int]) -> None:
    """Everything that changes a chain, over and over, until the daemon is gone."""
    try:
        while True:
            load(api, "work")
            for number in (1, 2):
                api.attach(f"work/member{number}", place(pair, 100 * number))
            exchange(api, "work/member1", "work/member4")
            load(api, "work", replace=True)
            lifetime, _ = _session(api)
            api.attach("base/member4", place(pair, 150), lifetime=lifetime)
            api.links.Detach(links_pb2.DetachRequest(name="work/member2"))
            api.unload("work")
            api.close_session(lifetime.session)
            changes[0] += 1
    except grpc.RpcError:
        return


def test_a_daemon_killed_anywhere(daemon: RunningDaemon, pair: Pair) -> None:
    """No packet misses those that stay, and afterwards runs what is said to run."""
    chance = random.Random(SEED)
    print(f"BPFD_TEST_SEED={SEED}")
    changes = [0]
    with daemon.channel() as channel:
        api = Api(channel)
        ids = load(api, "base")
        api.attach("base/member0", place(pair, FIRST), name="first")
        api.attach("base/member3", place(pair, LAST), name="last")
    with counters(ids) as found, exact(pair, found, 0, 3):
        for _ in range(4):
            with daemon.channel() as channel:
                worker = threading.Thread(target=_busy, args=(Api(channel), pair, changes))
                worker.start()
                time.sleep(chance.uniform(0.02, 0.6))
                daemon.kill()
                worker.join()
            daemon.start()
            with daemon.channel() as channel:
                api = Api(channel)
                now = sorted(links(api).values(), key=lambda each: each.point.xdp.priority)
                assert [each.program for each in now] == runs(pair)
                assert {"first", "last"} <= {each.name for each in now}
                for name in set(api.object_names()) - {"base"}:
                    api.unload(name)
                assert runs(pair) == ["member0", "member3"]
    with daemon.channel() as channel:
        Api(channel).unload("base")


def test_more_maps_than_one_program_may_have(daemon: RunningDaemon, pair: Pair) -> None:
    """66 in 22 objects and more: the chain goes on in a second program, after a kill too."""
    with daemon.channel() as channel:
        api = Api(channel)
        ids = load(api, "base")
        api.attach("base/member0", place(pair, FIRST))
        api.attach("base/member3", place(pair, LAST))
        refusal = ""
        try:
            for number in range(1, 23):
                load(api, f"filler{number}")
                api.attach(f"filler{number}/member1", place(pair, 100 + number))
        except grpc.RpcError as error:
            refusal = str(error.details())
        if refusal:  # a kernel whose JIT has no tail calls beside functions
            assert "a chain with more than 64 maps" in refusal
            for name in api.object_names():
                api.unload(name)
            return
        assert len(runs(pair)) == 24
        with counters(ids) as found, exact(pair, found, 0, 3):
            for turn in range(3):
                exchange(api, "filler22/member1", f"filler22/member{2 - turn % 2}")
            daemon.kill()
            assert len(runs(pair)) == 24
            daemon.start()
            with daemon.channel() as second:
                api = Api(second)
                assert len(links(api)) == 24
                exchange(api, "filler1/member1", "filler1/member2")
                api.unload("filler22")
                for number in range(2, 6):
                    api.unload(f"filler{number}")
                assert len(runs(pair)) == 19
    folder = daemon.bpffs / "bpfd" / "v1" / "chains"
    assert not folder.exists()  # it fits into one program again
    with daemon.channel() as channel:
        api = Api(channel)
        for name in api.object_names():
            api.unload(name)
    assert runs(pair) == []


def _session(api: Api) -> tuple[common_pb2.Lifetime, object]:
    session, stream = api.open_session(label="test")
    return common_pb2.Lifetime(session=session), stream


def test_who_is_where_is_known_without_notes(daemon: RunningDaemon, pair: Pair) -> None:
    """The kernel's own account is enough."""
    with daemon.channel() as channel:
        api = Api(channel)
        load(api)
        before = [
            api.attach("chain/member0", place(pair, 3, PASS), name="one"),
            api.attach("chain/member0", place(pair, 2, DROP), name="two"),
        ]
    daemon.kill()
    shutil.rmtree(daemon.state_dir / "objects")
    daemon.start()
    with daemon.channel() as channel:
        api = Api(channel)
        now = links(api)
        for each in before:
            found = now[each.name]
            assert (found.program, found.program_id) == (each.program, each.program_id)
            assert found.point.xdp.priority == each.point.xdp.priority
            assert found.point.xdp.proceed_on == each.point.xdp.proceed_on
        exchange(api, "two", "chain/member1")
        assert runs(pair) == ["member1", "member0"]
        api.unload("chain")


def test_a_chain_outlives_a_daemon_that_ends_well(daemon: RunningDaemon, pair: Pair) -> None:
    with daemon.channel() as channel:
        api = Api(channel)
        load(api)
        api.attach("chain/member0", place(pair, 3))
        with api.session() as lifetime:
            api.attach("chain/member1", place(pair, 4), lifetime=lifetime)
            assert runs(pair) == ["member0", "member1"]
        assert runs(pair) == ["member0"]
        lifetime, _ = _session(api)
        api.attach("chain/member2", place(pair, 4), lifetime=lifetime)
        assert daemon.stop() == 0
    assert runs(pair) == ["member0"]
    daemon.start()
    with daemon.channel() as channel:
        api = Api(channel)
        api.attach("chain/member1", place(pair, 1))
        assert runs(pair) == ["member1", "member0"]
        api.unload("chain")


def test_a_session_takes_its_members_along(api: Api, pair: Pair) -> None:
    with api.session("one") as first:
        load(api, "one", first)
        api.attach("one/member0", place(pair, 1))
        with api.session("two") as second:
            load(api, "two", second)
            api.attach("two/member1", place(pair, 2))
            assert runs(pair) == ["member0", "member1"]
        assert runs(pair) == ["member0"]
        with refused("attach_busy") as refusal:
            api.attach("one/member1", place(pair, 1))
        assert "member0" in refusal.text
        assert "one/member0" in refusal.text
        with refused("attach_busy") as refusal:
            api.attach("one/member1", xdp(pair))
        assert "by link one/member0" in refusal.text
    assert runs(pair) == []


def test_a_killed_daemons_sessions_end_with_it(daemon: RunningDaemon, pair: Pair) -> None:
    with daemon.channel() as channel:
        api = Api(channel)
        lifetime, _ = _session(api)
        load(api, "brief", lifetime)
        api.attach("brief/member0", place(pair, 1))
        daemon.kill()
    assert eventually(lambda: not runs(pair))


def test_one_kernel_link_stands_for_all(api: Api, pair: Pair) -> None:
    with api.session() as lifetime:
        load(api, "chain", lifetime)
        one = api.attach("chain/member0", place(pair, 1))
        two = api.attach("chain/member1", place(pair, 2))
        assert one.link_ids == two.link_ids
        with refused("invalid_argument") as refusal:
            api.links.Detach(links_pb2.DetachRequest(link_id=one.link_ids[0]))
        assert "say which: chain/member0, chain/member1" in refusal.text


def test_a_program_without_btf_among_others(api: Api, pair: Pair) -> None:
    """As instructions, from another object: it counts in its own map, between two of C."""
    counting = b"".join(
        struct.pack("=BBhi", code, source << 4 | target, offset, immediate)
        for code, target, source, offset, immediate in (
            (0x18, 1, 0, 0, 0),  # r1 = value of a map (relocated)
            (0x00, 0, 0, 0, 0),
            (0xB7, 2, 0, 0, 1),  # r2 = 1
            (0xDB, 1, 2, 0, 0),  # lock *(u64 *)(r1 + 0) += r2
            (0xB7, 0, 0, 0, PASS),
            (0x95, 0, 0, 0, 0),
        )
    )
    spec = objects_pb2.ObjectSpec(
        maps=[
            objects_pb2.MapSpec(
                name="spec_hits",
                type=common_pb2.MAP_TYPE_ARRAY,
                key_size=4,
                value_size=8,
                max_entries=1,
            )
        ],
        programs=[
            objects_pb2.ProgramSpec(
                name="spec-member",
                type=common_pb2.PROGRAM_TYPE_XDP,
                instructions=counting,
                license="GPL",
                relocations=[
                    objects_pb2.Relocation(
                        kind=objects_pb2.RELOCATION_KIND_MAP_VALUE, map="spec_hits"
                    )
                ],
            )
        ],
    )
    with api.session() as lifetime:
        ids = load(api, "chain", lifetime)
        request = objects_pb2.LoadRequest(name="spec", lifetime=lifetime, spec=spec)
        made = api.objects.Load(request).object
        with counters(ids) as found:
            api.attach("chain/member0", place(pair, 1))
            api.attach("spec/spec-member", place(pair, 2))
            api.attach("chain/member1", place(pair, 3))
            found.turns()
            pair.send(b"one")
            assert found.turns()[:2] == [0, 1]
            assert runs(pair) == ["member0", "spec-member", "member1"]
        with _value(made.maps[0].id) as read:
            assert read() >= 1


@contextmanager
def _value(map_id: int) -> Iterator[Callable[[], int]]:
    fd = syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, map_id)
    try:
        yield lambda: int(struct.unpack("=Q", syscall.map_lookup_elem(fd, bytes(4), 8))[0])
    finally:
        os.close(fd)
