# SPDX-License-Identifier: Apache-2.0
"""Sessions end, daemons are killed: what goes, what stays."""

from __future__ import annotations

import os
from typing import Any

import grpc
import pytest

from bpfd.kernel import elf_object, syscall
from bpfd.kernel.load_options import LoadOptions
from bpfd.objects.store import Store
from bpfd.v1 import links_pb2, objects_pb2, sessions_pb2
from tests.kernel.api import PINNED, SWITCHES, Api, eventually, refused
from tests.kernel.clang import compiled
from tests.kernel.conftest import RunningDaemon


def test_close_answers_when_all_is_gone(daemon: RunningDaemon, channel: grpc.Channel) -> None:
    api = Api(channel)
    session, stream = api.open_session(label="me")
    lifetime = objects_pb2.LoadRequest().lifetime
    lifetime.session = session
    api.load("one", compiled("objects"), lifetime)
    api.attach("one/count_switches", SWITCHES)
    found = api.objects.Get(objects_pb2.GetObjectRequest(name="one"))
    assert found.session_label == "me"
    api.close_session(session)
    assert api.object_names() == []
    assert not api.links.List(links_pb2.ListLinksRequest()).links
    assert [event.WhichOneof("event") for event in stream] == ["closing"]
    with refused("lease_expired"):
        api.load("one", compiled("objects"), lifetime)
    with refused("lease_expired"):
        api.close_session(session)


def test_a_broken_stream_ends_the_session(daemon: RunningDaemon) -> None:
    with daemon.channel() as channel, daemon.channel() as other:
        api = Api(channel)
        session, _ = api.open_session()
        lifetime = objects_pb2.LoadRequest().lifetime
        lifetime.session = session
        api.load("one", compiled("objects"), lifetime)
        api.attach("one/count_switches", SWITCHES)
        channel.close()
        assert eventually(lambda: Api(other).object_names() == [])


def test_grace_and_resume(daemon: RunningDaemon) -> None:
    with daemon.channel() as other:
        with daemon.channel() as channel:
            api = Api(channel)
            request = sessions_pb2.OpenSessionRequest()
            request.grace.FromSeconds(60)
            session = next(api.sessions.Open(request)).opened.session
            lifetime = objects_pb2.LoadRequest().lifetime
            lifetime.session = session
            api.load("one", compiled("objects"), lifetime)
        api = Api(other)
        streams: list[Any] = []

        def resumed() -> bool:
            try:
                streams.append(
                    api.sessions.Open(sessions_pb2.OpenSessionRequest(resume=session))
                )
                return bool(next(streams[-1]).opened.session == session)
            except grpc.RpcError:
                return False  # the daemon has not seen the first stream break

        assert eventually(resumed)
        assert api.object_names() == ["one"]
        api.close_session(session)
        assert api.object_names() == []


def test_bad_sessions(channel: grpc.Channel) -> None:
    api = Api(channel)
    with refused("invalid_argument"):
        api.open_session(label="x" * 129)
    with refused("lease_expired"):
        api.open_session(resume="nobody")


def test_a_killed_daemon(daemon: RunningDaemon) -> None:
    with daemon.channel() as channel:
        api = Api(channel)
        session, _ = api.open_session()
        lifetime = objects_pb2.LoadRequest().lifetime
        lifetime.session = session
        api.load("gone", compiled("objects"), lifetime)
        api.attach("gone/count_switches", SWITCHES)
        pinned = api.load("stays", compiled("objects"), PINNED).object
        link = api.attach("stays/count_switches", SWITCHES)
        daemon.kill()
    daemon.start()
    with daemon.channel() as channel:
        api = Api(channel)
        found = api.objects.Get(objects_pb2.GetObjectRequest(name="stays"))
        assert found.links == [link]
        found.ClearField("links")
        for field in ("programs", "maps"):
            left, right = getattr(found, field), getattr(pinned, field)
            assert sorted(left, key=str) == sorted(right, key=str)
        assert found.loaded_at == pinned.loaded_at
        assert api.object_names() == ["stays"]
        api.load("stays", compiled("objects", "VERSION=2"), PINNED, replace=True)
        assert api.unload("stays") == [link.name]
    daemon.stop()
    assert not (daemon.bpffs / "bpfd").exists()


def test_a_stopped_daemon_leaves_what_is_pinned(daemon: RunningDaemon) -> None:
    with daemon.channel() as channel:
        api = Api(channel)
        api.load("stays", compiled("objects"), PINNED)
        api.attach("stays/count_switches", SWITCHES)
    assert daemon.stop() == 0
    daemon.start()
    with daemon.channel() as channel:
        assert Api(channel).unload("stays") == ["stays/count_switches"]


@pytest.mark.parametrize("moved", ["nothing", "one link", "pins"])
def test_a_daemon_killed_in_a_replacement(daemon: RunningDaemon, moved: str) -> None:
    """At each step: either the old object whole, or the new one, and always its link."""
    with daemon.channel() as channel:
        api = Api(channel)
        old = api.load("one", compiled("objects"), PINNED).object
        api.attach("one/count_switches", SWITCHES, name="first")
        api.attach("one/count_switches", SWITCHES, name="second")
        daemon.kill()
    store = Store(str(daemon.bpffs), str(daemon.state_dir))
    new = elf_object.load("one", compiled("objects", "VERSION=2"), LoadOptions())
    store.stage_replacement("one", new)
    links = daemon.bpffs / "bpfd" / "v1" / "objects" / "one" / "links"
    if moved == "one link":
        program = new.programs["count_switches"]
        link = syscall.raw_tracepoint_open("sched_switch", program.fd)
        store.replace_link("one", "first", [link])
        os.close(link)
    if moved == "pins":
        target = daemon.bpffs / "bpfd" / "v1" / "replace" / "one" / "links"
        for each in links.iterdir():
            each.rename(target / each.name)
    new_ids = {item.id for item in new.programs.values()}
    new.close()
    daemon.start()
    with daemon.channel() as channel:
        api = Api(channel)
        found = api.objects.Get(objects_pb2.GetObjectRequest(name="one"))
        old_ids = {item.id for item in old.programs}
        expected = old_ids if moved == "nothing" else new_ids
        assert {item.id for item in found.programs} == expected
        assert sorted(link.name for link in found.links) == ["first", "second"]
        if moved != "pins":  # links that were moved run what they ran
            assert {link.program_id for link in found.links} <= expected
        assert sorted(api.unload("one")) == ["first", "second"]
