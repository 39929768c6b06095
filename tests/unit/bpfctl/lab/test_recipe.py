# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.lab import recipe

OWN = """
summary = "mine"
arch = "arm64"
suite = "trixie"
kernel = "linux-image-arm64"
series = "6.12"
memory = 512
"""


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the user's recipes."""
    monkeypatch.setenv("BPFCTL_CONFIG_DIR", str(tmp_path))
    (tmp_path / "lab").mkdir()
    return tmp_path / "lab"


def test_boards_that_come_along() -> None:
    found = recipe.recipes()
    assert list(found) == [
        "amd64-6.1",
        "amd64-6.12",
        "amd64-7.2",
        "arm64-6.1",
        "arm64-6.12",
        "arm64-7.2",
        "armhf-6.1",
        "armhf-6.12",
        "riscv64-6.12",
    ]
    suites = {"6.1": "bookworm", "6.12": "trixie", "7.2": "sid"}
    for name, board in found.items():
        assert name == f"{board.arch}-{board.series}"
        assert board.suite == suites[board.series]
        assert board.machine.program.startswith("qemu-system-")


def test_what_all_boards_have() -> None:
    system = recipe.system()
    for lists in (system.load, system.offer, system.applets, system.android_applets):
        assert len(lists) == len(set(lists))
    assert {"cat", "tar", "gzip"} <= set(system.applets) & set(system.android_applets)
    assert "sh" in system.applets
    assert not {"wget", "xz"} & set(system.android_applets)


def test_own_recipes_come_first(own: Path) -> None:
    (own / "big.toml").write_text(OWN)
    (own / "arm64-6.12.toml").write_text(OWN)
    assert recipe.find("big").memory == 512
    assert recipe.find("big").machine.cpu == "cortex-a57"
    assert recipe.recipes()["arm64-6.12"].summary == "mine"
    assert recipe.find("arm64-6.1").summary != "mine"


def test_the_machine_may_differ(own: Path) -> None:
    (own / "max.toml").write_text(OWN + '[machine]\ncpu = "max"\n')
    made = recipe.find("max").machine
    assert (made.cpu, made.machine) == ("max", "virt")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = ", "not valid TOML"),
        (OWN.replace('"arm64"', '"m68k"'), "arch is not one of amd64, arm64, armhf, riscv64"),
        (OWN + "size = 1\n", "no such setting: size"),
        (OWN.replace("512", '"512"'), "memory has the wrong type"),
        (OWN + "modules = [1]\n", "modules has the wrong type"),
        (OWN.replace('suite = "trixie"\n', ""), "suite is missing"),
        (OWN + "[machine]\nspeed = 9\n", "no such setting: speed"),
        (OWN + "machine = 1\n", "machine is not a table"),
    ],
)
def test_bad_recipes(own: Path, text: str, said: str) -> None:
    (own / "bad.toml").write_text(text)
    with pytest.raises(InvalidArgument, match=said):
        recipe.find("bad")


@pytest.mark.parametrize("name", ["arm64-6.2", "../base/arm64", "base/arm64", ""])
def test_names_that_are_no_board(name: str) -> None:
    with pytest.raises(NotFound, match="there is no board"):
        recipe.find(name)


def test_series_of_a_release() -> None:
    board = recipe.find("arm64-6.1")
    assert board.fits("6.1.0-50-cloud-arm64")
    assert not board.fits("6.12.107+deb13-cloud-arm64")
    assert recipe.find("arm64-7.2").fits("7.2.13+deb14-cloud-arm64")
    assert not recipe.find("arm64-7.2").fits("7.20.1-cloud-arm64")
