# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from bpfctl.profiles import differential, svg, tree
from bpfctl.profiles.model import Frame, Profile, Sample
from hypothesis import given, settings

from tests.unit.bpfctl.profiles import made

SVG = "{http://www.w3.org/2000/svg}"


def drawn(text: str) -> dict[str, tuple[float, float, float, str]]:
    """(x, y, width, title) by name; of frames with the same name the last."""
    found = {}
    for rect in ET.fromstring(text).iter(f"{SVG}rect"):
        title = rect.find(f"{SVG}title")
        if title is not None and title.text:
            x, y, width = (float(rect.attrib[name]) for name in ("x", "y", "width"))
            found[title.text.split("\n")[0]] = (x, y, width, title.text)
    return found


def test_frames_are_as_wide_as_their_share() -> None:
    text = "".join(svg.write(tree.of(made.small())))
    found = drawn(text)
    assert set(found) == {node.function.name for _, node in tree.of(made.small()).root.walk()}
    for name, share in (("all", 1), ("app", 0.9), ("parse(char const*)", 0.7), ("node", 0.1)):
        assert found[name][2] == pytest.approx(1180 * share), name
    parse, skip = found["parse(char const*)"], found["skip_space"]
    assert parse[1] - skip[1] == svg.ROW
    assert parse[0] == skip[0]
    assert parse[3] == (
        "parse(char const*)\n/usr/bin/app\nparse.cc:20\n"
        "total 70.00 %, 70 samples\nself 20.00 %, 20 samples"
    )
    texts = [each.text for each in ET.fromstring(text).iter(f"{SVG}text")]
    assert texts[:3] == [
        "CPU samples, 99 Hz of app",
        "target board | started 2026-03-01 12:00:00 UTC | 2.5 s | 100 samples",
        "Missed: 3 stacks found no room.",
    ]
    assert "parse(char const*)" in texts


def test_what_is_too_narrow_is_said() -> None:
    samples = [Sample((Frame("wide"),), 10**6), Sample((Frame("narrow"),), 1)]
    text = "".join(svg.write(tree.of(Profile(samples))))
    assert set(drawn(text)) == {"all", "wide"}
    assert "1 of 3 frames are too narrow to be drawn" in text


@settings(deadline=None)
@given(made.PROFILES)
def test_any_name_can_stand_in_it(profile: Profile) -> None:
    text = "".join(svg.write(tree.of(profile)))
    root = ET.fromstring(text)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for x, y, wide, _ in drawn(text).values():
        assert x >= 0
        assert x + wide <= width
        assert 0 <= y <= height - svg.ROW


def test_more_is_red_and_less_is_blue() -> None:
    a, b = Frame("a"), Frame("b")
    graph = differential.of(
        Profile([Sample((a,), 30), Sample((b,), 10)]),
        Profile([Sample((a,), 10), Sample((b,), 10)]),
    )
    root = ET.fromstring("".join(svg.write(graph)))
    fills = {}
    for rect in root.iter(f"{SVG}rect"):
        title = rect.find(f"{SVG}title")
        if title is not None and title.text:
            fills[title.text.split("\n")[0]] = bytes.fromhex(rect.attrib["fill"][1:])
    assert fills["b"][0] > fills["b"][2]
    assert fills["a"][2] > fills["a"][0]
    assert fills["all"][0] == fills["all"][2]
