# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections import defaultdict
from typing import Any

import pytest
from bpfctl.errors import InvalidArgument
from bpfctl.profiles import perfetto, tree
from bpfctl.profiles.model import Profile
from hypothesis import given, settings

from tests.unit.bpfctl.profiles import made

pytest.importorskip("perfetto")

Slice = tuple[str, int, int, int]


def slices(data: bytes) -> dict[str, list[Slice]]:
    """(name, depth, begin, length) by the name of their track, nested by their order."""
    protos: Any = perfetto.protos()
    names: dict[int, str] = {}
    found: dict[str, list[Slice]] = defaultdict(list)
    stacks: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
    for packet in protos.Trace.FromString(data).packet:
        if packet.HasField("track_descriptor"):
            names[packet.track_descriptor.uuid] = packet.track_descriptor.name
            continue
        event = packet.track_event
        track, stack = names[event.track_uuid], stacks[event.track_uuid]
        if event.type == protos.TrackEvent.TYPE_SLICE_BEGIN:
            stack.append((event.name, len(found[track]), packet.timestamp))
            found[track].append((event.name, len(stack) - 1, packet.timestamp, 0))
        else:
            name, place, begin = stack.pop()
            _, depth, *_ = found[track][place]
            found[track][place] = (name, depth, begin, packet.timestamp - begin)
    assert not any(stacks.values())
    return found


def test_functions_are_slices_as_long_as_their_sum() -> None:
    found = slices(b"".join(perfetto.write(tree.of(made.small()))))
    once = 10_101_010
    assert found["app"] == [
        ("app", 0, 0, 90 * once),
        ("main", 1, 0, 90 * once),
        ("__libc_read", 2, 0, 15 * once),
        ("do_syscall_64", 3, 0, 15 * once),
        ("nft_do_chain", 4, 0, 15 * once),
        ("app+0x2fff", 2, 15 * once, 5 * once),
        ("parse(char const*)", 2, 20 * once, 70 * once),
        ("skip_space", 3, 20 * once, 50 * once),
    ]
    assert [name for name, *_ in found["node"]] == ["node", "main", "LazyCompile:~handle"]
    ((said, *_),) = found["CPU samples, 99 Hz of app"]
    assert "Missed: 3 stacks found no room." in said
    assert "places are not" in said


@settings(max_examples=50, deadline=None)
@given(made.PROFILES)
def test_slices_lie_in_their_callers(profile: Profile) -> None:
    graph = tree.of(profile)
    found = slices(b"".join(perfetto.write(graph)))
    for track in found.values():
        if track[0][0].startswith("Sums of stacks"):
            continue
        ends: list[int] = []
        for _, depth, begin, length in track:
            del ends[depth:]
            assert length > 0
            assert not ends or begin + length <= ends[-1]
            ends.append(begin + length)
    lengths = sum(
        length for track in found.values() for _, depth, _, length in track if not depth
    )
    # Those of no function and no process are in the head alone.
    assert lengths == (2 * profile.total - graph.root.own) * perfetto._scale(graph)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "perfetto.protos.perfetto.trace", None)
    with pytest.raises(InvalidArgument, match="export"):
        perfetto.protos()
