# SPDX-License-Identifier: Apache-2.0
"""What happens between two steps of a call, brought about step by step in one process."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bpfd.errors import NotFound
from bpfd.events import settings
from bpfd.kernel import elf_object
from bpfd.kernel.load_options import Cancelled, LoadOptions, never
from bpfd.objects.objects import Objects
from bpfd.services.events import EventsService
from bpfd.sessions import Sessions
from bpfd.v1 import common_pb2, events_pb2, links_pb2, objects_pb2
from tests.kernel.api import PINNED, SWITCHES, map_ref, program
from tests.kernel.clang import compiled


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[Objects]:
    """Objects of no daemon; the session "s" is alive."""
    sessions = Sessions()
    sessions._sessions["s"] = None  # type: ignore[assignment]
    sessions.label = lambda session: session  # type: ignore[method-assign]
    root = Path(f"/sys/fs/bpf/rv-{os.getpid()}")
    found = Objects(str(root), str(tmp_path), sessions)
    try:
        yield found
        for name in list(found.registry.objects):
            found.unload(name)
        found.close()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def load(objects: Objects, *defines: str, **fields: Any) -> objects_pb2.LoadResponse:
    fields = {"name": "one", "lifetime": PINNED, "elf": compiled("objects", *defines), **fields}
    return objects.load(objects_pb2.LoadRequest(**fields), never, lambda *_: None)


def attach(objects: Objects, **fields: Any) -> objects_pb2.Link:
    request = links_pb2.AttachRequest(
        program=program("one/count_switches"), point=SWITCHES, **fields
    )
    return objects.links.attach(request, never, lambda *_: None)


def before_staying(
    objects: Objects, monkeypatch: pytest.MonkeyPatch, step: Callable[[], object]
) -> None:
    """Somebody else is faster, once, at the lock of an object."""
    staying = objects.registry.staying

    @contextmanager
    def slower(*names: str) -> Iterator[None]:
        monkeypatch.undo()
        step()
        with staying(*names):
            yield

    monkeypatch.setattr(objects.registry, "staying", slower)


def ids(objects: Objects) -> set[int]:
    return {item.id for item in objects.registry.object("one").loaded.programs.values()}


def test_a_late_replacement_stays(objects: Objects) -> None:
    load(objects)
    link = attach(objects)
    late = load(objects, "VERSION=2", replace=True)
    objects.undo_load(late)
    assert [each.name for each in objects.links.list()] == [link.name]


def test_a_late_load_goes(objects: Objects) -> None:
    objects.undo_load(load(objects))
    assert not objects.registry.objects


def test_attaching_while_the_object_is_replaced(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(objects)
    replace = lambda: load(objects, "VERSION=2", replace=True)  # noqa: E731
    before_staying(objects, monkeypatch, replace)
    assert attach(objects).program_id in ids(objects)


def test_updating_a_link_that_has_just_gone(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(objects)
    load(objects, name="two")
    link = attach(objects, lifetime=common_pb2.Lifetime(session="s"))
    before_staying(objects, monkeypatch, lambda: objects.end_session("s"))
    request = links_pb2.UpdateLinkRequest(name=link.name, program=program("two/count_switches"))
    with pytest.raises(NotFound):
        objects.links.update(request, lambda *_: None)
    assert not objects.links.list()


def test_a_link_that_goes_while_its_object_is_replaced(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(objects)
    attach(objects, lifetime=common_pb2.Lifetime(session="s"))
    links_of = objects.registry.links_of
    calls: list[str] = []

    def slower(owner: str) -> Any:
        found = links_of(owner)
        calls.append(owner)
        if len(calls) == 2:  # the first call is before the load, the second one after it
            objects.end_session("s")
        return found

    monkeypatch.setattr(objects.registry, "links_of", slower)
    load(objects, "VERSION=2", replace=True)
    assert not objects.links.list()


def test_a_cancelled_load_leaves_no_pins(tmp_path: Path) -> None:
    root = Path(f"/sys/fs/bpf/rv-pins-{os.getpid()}")
    answers = iter([False, True])
    try:
        with pytest.raises(Cancelled):
            elf_object.load(
                "one",
                compiled("objects", "PIN_BY_NAME"),
                LoadOptions(pin_root=str(root)),
                lambda: next(answers),
            )
        assert not list(root.glob("*"))
    finally:
        shutil.rmtree(root, ignore_errors=True)


async def test_a_ring_that_is_unloaded_while_it_is_opened(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream ends by itself: nobody writes into that ring any more."""
    service = EventsService(objects)
    objects.load(
        objects_pb2.LoadRequest(name="ev", lifetime=PINNED, elf=compiled("events")),
        never,
        lambda _: None,
    )
    resolve = settings.resolve

    def slow(*arguments: Any) -> settings.Target:
        found = resolve(*arguments)
        objects.unload("ev")
        return found

    monkeypatch.setattr(settings, "resolve", slow)
    request = events_pb2.SubscribeRequest(map=map_ref("ev/ev_ring"))
    subscriber = await service._subscribe(request, settings.validate(request))
    try:
        assert await asyncio.wait_for(subscriber.next(), 20) is None
    finally:
        subscriber.close()
    assert not service._gone_meanwhile
