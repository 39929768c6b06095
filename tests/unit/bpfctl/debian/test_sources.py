# SPDX-License-Identifier: Apache-2.0
"""Which mirrors are used, and for what."""

from __future__ import annotations

import pytest
from bpfctl.debian.sources import MIRROR_VARIABLE, Source, source_list, sources

LINES = [
    "http://mirror.example/debian/ bookworm Debian",
    "http://mirror.example/debian/ bookworm Debian",
    "http://mirror.example/debian/ bookworm-updates Debian",
    "http://mirror.example/debian-security/ bookworm-security Debian",
    "http://mirror.example/debian/ bookworm-backports Debian",
    "http://other.example/node/ nodistro . nodistro",
]


def test_the_mirrors_are_those_of_this_machines_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    assert sources(LINES) == [
        Source("http://mirror.example/debian/", ""),
        Source("http://mirror.example/debian/", "-updates"),
        Source("http://mirror.example/debian-security/", "-security"),
    ]


def test_before_apt_knows_origins_the_path_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    lines = ["http://mirror.example/debian bookworm ", "http://other.example/node nodistro "]
    assert sources(lines) == [Source("http://mirror.example/debian", "")]


def test_the_variable_names_the_only_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, "http://own.example/debian")
    assert sources(LINES) == [Source("http://own.example/debian", "")]


def test_a_suite_comes_with_its_updates_and_unstable_has_none() -> None:
    mirrors = [
        Source("http://m.example/debian/", ""),
        Source("http://m.example/s/", "-security"),
    ]
    assert source_list(mirrors, "trixie", "arm64", "/keys.gpg") == (
        "deb [arch=arm64 signed-by=/keys.gpg] http://m.example/debian/ trixie main\n"
        "deb [arch=arm64 signed-by=/keys.gpg] http://m.example/s/ trixie-security main\n"
    )
    assert source_list(mirrors, "sid", "armhf", "/keys.gpg") == (
        "deb [arch=armhf signed-by=/keys.gpg] http://m.example/debian/ sid main\n"
    )
