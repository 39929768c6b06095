# SPDX-License-Identifier: Apache-2.0
"""Names of objects and links."""

from __future__ import annotations

import pytest

from bpfd.errors import InvalidArgument, NotFound
from bpfd.kernel.load_options import Loaded, LoadedProgram
from bpfd.objects.registry import HeldObject, Registry
from bpfd.v1 import common_pb2


@pytest.fixture
def registry() -> Registry:
    found = Registry()
    loaded = Loaded(programs={"main": LoadedProgram("main", 0, 5, 6, 37, "xdp")})
    found.objects["web"] = HeldObject("web", None, loaded)
    return found


@pytest.mark.parametrize("name", ["", "web", "a b", "../x", "a/b", "x" * 65, "ä"])
def test_names_that_are_refused(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidArgument), registry.reserve(name):
        pass


def test_a_name_is_kept_for_the_time_of_a_load(registry: Registry) -> None:
    with registry.reserve("new"), pytest.raises(InvalidArgument), registry.reserve("new"):
        pass
    with registry.reserve("new"), registry.reserve("web", replace=True):
        pass


def test_link_names(registry: Registry) -> None:
    with registry.reserve_link("", "web", "main") as first:
        with registry.reserve_link("", "web", "main") as second:
            assert (first, second) == ("web/main", "web/main-2")
        with pytest.raises(InvalidArgument), registry.reserve_link("web/main", "", ""):
            pass
        with pytest.raises(InvalidArgument), registry.reserve_link("a/b/c", "", ""):
            pass


def test_near_names(registry: Registry) -> None:
    with pytest.raises(NotFound) as raised:
        registry.object("wep")
    assert raised.value.near == ["web"]
    with pytest.raises(NotFound):
        registry.link("web/main")


def test_messages_and_members(registry: Registry) -> None:
    message = registry.messages()[0]
    assert message.programs[0].id == 5
    assert message.lifetime.WhichOneof("kind") == "pinned"
    assert registry.program_members() == {5: ("web", "main")}
    assert registry.member_of_map(5) is None
    assert registry.types_of("web") == {"main": (6, 37)}


def test_references_say_what_is_missing(registry: Registry) -> None:
    for ref in (
        common_pb2.MapRef(),
        common_pb2.MapRef(pin_path="relative"),
    ):
        with pytest.raises(InvalidArgument), registry.map_fd(ref):
            pass
    member = common_pb2.ObjectMember(object="web", name="flows")
    with pytest.raises(NotFound), registry.map_fd(common_pb2.MapRef(member=member)):
        pass
