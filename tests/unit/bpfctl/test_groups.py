# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl import config, groups
from bpfctl.errors import InvalidArgument, NotFound


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BPFCTL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("BPFCTL_TARGET", raising=False)
    config.save_targets({name: config.LocalTarget(f"/{name}") for name in "abc"})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" b , a,b ", ["b", "a"]),
        ("group:edge", ["c", "a"]),
        ("a,group:edge,group:all,b", ["a", "c", "b"]),
        ("unix:/x,ssh://h", ["unix:/x", "ssh://h"]),
    ],
)
def test_names_of_a_text(text: str, names: list[str]) -> None:
    groups.join("c", ["edge", "all"])
    groups.join("a", ["edge"])
    assert groups.expand(text) == names


@pytest.mark.parametrize("text", ["", ",", "a,", "a,,b"])
def test_empty_names_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="has an empty name"):
        groups.expand(text)


def test_a_group_that_is_not_there() -> None:
    groups.join("a", ["edge"])
    with pytest.raises(NotFound, match=r"no group 'egde'; did you mean group:edge\?.*--group"):
        groups.expand("a,group:egde")


@pytest.mark.parametrize(
    ("text", "several"),
    [("a", False), ("a,b", True), ("group:a", True), ("unix:/x", False), ("unix:/x,a", True)],
)
def test_what_could_be_several(text: str, several: bool) -> None:
    assert groups.several(text) == several


def test_one_target_by_a_group() -> None:
    groups.join("b", ["lone"])
    assert config.resolve("group:lone") == ("b", config.LocalTarget("/b"))
    groups.join("c", ["lone"])
    with pytest.raises(InvalidArgument, match=r"'group:lone' names 2 targets \(b, c\)"):
        config.resolve("group:lone")


def test_groups_and_targets_keep_each_other() -> None:
    groups.join("a", ["edge"])
    with config.changing_targets() as targets:
        targets["d"] = config.LocalTarget("/d")
    groups.join("a", ["edge", "other"])
    assert groups.load_groups() == {"edge": ["a"], "other": ["a"]}
    assert set(config.load_targets()) == {"a", "b", "c", "d"}
    assert groups.of("a", groups.load_groups()) == ["edge", "other"]


def test_leaving() -> None:
    for name in "abc":
        groups.join(name, ["edge", "all"])
    groups.leave("b", ["edge"])
    assert groups.load_groups() == {"edge": ["a", "c"], "all": ["a", "b", "c"]}
    with pytest.raises(NotFound, match="there is none in group 'edge'"):
        groups.leave("b", ["all", "edge"])
    assert groups.load_groups()["all"] == ["a", "b", "c"]
    groups.leave("a", ["edge"])
    groups.forget("c")
    assert groups.load_groups() == {"all": ["a", "b"]}


@pytest.mark.parametrize("text", ["groups = 3\n", "[groups]\nedge = 'a'\n"])
def test_a_damaged_file(text: str) -> None:
    config.targets_file().write_text(text)
    with pytest.raises(InvalidArgument, match=r"targets\.toml"):
        groups.load_groups()


def test_a_name_that_cannot_be_a_group() -> None:
    with pytest.raises(InvalidArgument, match="group name: 'a,b'"):
        groups.join("a", ["fine", "a,b"])
    assert groups.load_groups() == {}
