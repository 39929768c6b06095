# SPDX-License-Identifier: Apache-2.0
"""Chains changed under traffic, by a daemon that is killed meanwhile: no packet misses one."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from bpfd.v1 import links_pb2
from tests.kernel.api import Api
from tests.kernel.chain_support import (
    DROP,
    PASS,
    counters,
    exact,
    exchange,
    links,
    load,
    place,
    runs,
    session_of,
    silence,
)
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import Pair, needs_root, veth_pair

pytestmark = needs_root

SEED = int(os.environ.get("BPFD_TEST_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
FIRST, LAST = 10, 1_000
"""Priorities of those that are always there."""


@pytest.fixture
def api(channel: grpc.Channel) -> Api:
    return Api(channel)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with veth_pair() as found:
        silence(found)
        yield found


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
        lifetime, _ = session_of(api)
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
            lifetime, _ = session_of(api)
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
