# SPDX-License-Identifier: Apache-2.0
"""`bpfctl btf`, with a fake daemon and kernels made by hand."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bpfctl.cli.root import run
from bpfctl.kernelbtf import KernelBuild, Store, debian
from bpfctl.kernelbtf.files import Found
from bpfctl.kernelbtf.image import Kernel

from tests.unit.bpfctl.fake_daemon import FakeDaemon
from tests.unit.bpfctl.kernelbtf import made

ID = bytes(range(20))
BUILD = KernelBuild("arm", made.RELEASE, made.VERSION, ID.hex())


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    for name, folder in (("CONFIG", "config"), ("DATA", "data"), ("CACHE", "cache")):
        monkeypatch.setenv(f"BPFCTL_{name}_DIR", str(tmp_path / folder))
    monkeypatch.setenv("BPFCTL_SOCKET", str(tmp_path / "s"))
    monkeypatch.delenv("BPFCTL_TARGET", raising=False)
    with FakeDaemon(f"unix:{tmp_path}/s") as fake:
        info = fake.target.info
        info.machine, info.pointer_bits = "armv7l", 32
        info.kernel_release, info.kernel_version = made.RELEASE, made.VERSION
        info.kernel_build_id = ID
        yield fake


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    capsys.readouterr()
    assert run(["btf", "list", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, list)
    return found


def test_a_file_is_added_for_a_target_listed_and_removed(
    fake: FakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "board.btf"
    path.write_bytes(made.WHOLE)
    assert run(["btf", "add", str(path)]) == 1
    assert "--for TARGET" in capsys.readouterr().err
    assert run(["btf", "add", str(path), "--for", "local"]) == 0
    assert f"{len(made.WHOLE)} bytes of BTF for {made.RELEASE}" in capsys.readouterr().out
    (row,) = rows(capsys)
    assert (row["release"], row["arch"]) == (made.RELEASE, "arm")
    assert (row["build_id"], row["source"]) == (ID.hex(), "board.btf")
    assert Path(str(row["path"])).read_bytes() == made.WHOLE
    assert run(["btf", "remove", made.RELEASE]) == 0
    assert rows(capsys) == []
    assert run(["btf", "remove", made.RELEASE]) == 4


def test_a_file_by_release_and_version(
    fake: FakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "board.btf"
    path.write_bytes(made.WHOLE)
    words = ["--release", made.RELEASE, "--version", made.VERSION, "--arch", "armv7l"]
    assert run(["btf", "add", str(path), *words]) == 0
    assert Store().find(BUILD) is not None


def test_an_image_says_itself_what_it_is(
    fake: FakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "zImage"
    path.write_bytes(made.zimage(gzip.compress(made.kernel(), 1)))
    assert run(["btf", "add", str(path)]) == 0
    assert Store().find(BUILD) is not None
    fake.target.info.kernel_version = made.VERSION.replace("176", "177")
    assert run(["btf", "add", str(path), "--for", "local"]) == 1
    assert "offsets would be wrong" in capsys.readouterr().err


def test_what_is_fetched_is_kept_and_asked_for_once(
    fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def fetch(build: KernelBuild, progress: object) -> Found:
        asked.append(build)
        return Found(Kernel(build, made.WHOLE), "Debian bookworm, a package")

    monkeypatch.setattr(debian, "fetch", fetch)
    assert run(["btf", "fetch"]) == 0
    assert run(["btf", "fetch", "-t", "local"]) == 0
    assert asked == [BUILD]
    assert "known already, from Debian bookworm" in capsys.readouterr().out
    words = ["--release", "6.12.1", "--version", "#1 SMP Debian 6.12.1-1 (2026-01-01)"]
    assert run(["btf", "fetch", *words, "--arch", "armv7l"]) == 0
    assert asked[1:] == [KernelBuild("arm", words[1], words[3])]
    assert run(["btf", "fetch", "--release", "6.12.1"]) == 2


def test_nothing_is_fetched_for_kernels_with_btf(
    fake: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.target.info.btf_sha256 = bytes(32)
    assert run(["btf", "fetch"]) == 0
    assert "has BTF of its own" in capsys.readouterr().out


def test_a_kernel_of_others_is_told_what_to_do(
    fake: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.target.info.kernel_version = "#1 SMP Thu Mar 31 19:38:48 BST 2022"
    assert run(["btf", "fetch"]) == 1
    said = capsys.readouterr().err
    assert "no kernel that Debian built" in said
    assert "btf add FILE" in said
