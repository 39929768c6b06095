# SPDX-License-Identifier: Apache-2.0
"""Chains of a daemon: adopted, shared by several owners, gone with a session."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest

from bpfd.kernel import syscall
from bpfd.kernel.constants import Cmd
from bpfd.v1 import common_pb2, links_pb2, objects_pb2
from tests.kernel.api import Api, eventually, refused
from tests.kernel.chain_support import (
    DROP,
    PASS,
    counters,
    exchange,
    links,
    load,
    place,
    runs,
    session_of,
    silence,
)
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import Pair, needs_root, veth_pair, xdp

pytestmark = needs_root


@pytest.fixture
def api(channel: grpc.Channel) -> Api:
    return Api(channel)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with veth_pair() as found:
        silence(found)
        yield found


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
        lifetime, _ = session_of(api)
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
        lifetime, _ = session_of(api)
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
