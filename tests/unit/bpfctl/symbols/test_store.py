# SPDX-License-Identifier: Apache-2.0
"""Unstripped binaries by build id."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.symbols import elf
from bpfctl.symbols.elf import Level
from bpfctl.symbols.store import Store

from .built import build, needs_clang, objcopy, stripped

pytestmark = needs_clang


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("store") / "lib.so")


@pytest.fixture
def build_id(binary: Path) -> str:
    with open(binary, "rb") as file:
        return elf.facts(file).build_id


@pytest.fixture
def folder(binary: Path, tmp_path: Path) -> Path:
    """A build: the binary, the same stripped, a link, a hard link, and other files."""
    found = tmp_path / "build"
    (found / "deep").mkdir(parents=True)
    shutil.copy(binary, found / "deep" / "lib.so")
    os.link(found / "deep" / "lib.so", found / "deep" / "linked.so")
    (found / "a-link.so").symlink_to("deep/lib.so")
    (found / "loop").symlink_to(".")
    (found / "dangling").symlink_to("nowhere")
    (found / "text").write_text("text")
    (found / "empty").write_text("")
    stripped(binary, found / "a-stripped.so")
    return found


def test_the_file_that_tells_most_is_found(folder: Path, build_id: str) -> None:
    added = Store(system=None).add(folder)
    assert len(build_id) == 40
    assert [each.level for each in added] == [Level.LINES, Level.EXPORTS]
    found = Store(system=None).find(build_id)
    assert found is not None
    assert found.level is Level.LINES
    assert found.machine == "x64"
    assert Store(system=None).find("00" * 20) is None
    assert Store(system=None).find("") is None


def test_what_changes_under_its_path_is_not_taken_for_it(folder: Path, build_id: str) -> None:
    Store(system=None).add(folder)
    for each in folder.rglob("*.so"):
        each.unlink()
    build(folder / "other.so", "-DOTHER", "-O2")
    store = Store(system=None)
    assert store.find(build_id) is None
    with open(folder / "other.so", "rb") as file:
        new = elf.facts(file).build_id
    found = store.find(new)
    assert found is not None, "built anew after it was added"
    assert found.path == folder / "other.so"
    assert [each.path for each in Store(system=None).entries()] == [found.path]


def test_debug_files_and_links(binary: Path, build_id: str, tmp_path: Path) -> None:
    debug = tmp_path / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"
    debug.parent.mkdir(parents=True)
    objcopy("--only-keep-debug", binary, debug)
    found = Store(system=tmp_path / ".build-id").find(build_id)
    assert found is not None, "where distributions put it"
    assert (found.path, found.level, found.only_debug) == (debug, Level.LINES, True)
    assert Store(system=None).find(build_id) is None
    Store(system=None).add(tmp_path / ".build-id")
    assert Store(system=None).find(build_id) is not None
    bare = tmp_path / "bare.so"
    named = tmp_path / "lib.debug"
    shutil.copy(debug, named)
    objcopy("--strip-all", f"--add-gnu-debuglink={named}", binary, bare)
    with open(bare, "rb") as file:
        facts = elf.facts(file)
    assert facts.debuglink == "lib.debug"
    store = Store(system=None)
    assert store.find_link(facts.debuglink, facts.debuglink_crc) is None
    store.add(named)
    linked = store.find_link(facts.debuglink, facts.debuglink_crc)
    assert linked is not None
    assert linked.path == named
    assert store.find_link(facts.debuglink, facts.debuglink_crc ^ 1) is None


def test_removal(folder: Path, binary: Path, build_id: str, tmp_path: Path) -> None:
    store = Store(system=None)
    store.add(folder)
    store.add(binary)
    assert len(store.remove(str(folder))) == 2
    assert [each.path for each in store.entries()] == [binary]
    assert store.remove(build_id[:8])[0].path == binary
    assert store.entries() == []
    assert folder.exists()
    with pytest.raises(NotFound, match="symbols list"):
        store.remove("abcd1234")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InvalidArgument, match="no ELF file"):
        store.add(tmp_path / "nothing")


def test_a_damaged_index_is_an_empty_one(folder: Path, tmp_path: Path) -> None:
    store = Store(system=None)
    store.add(folder)
    for text in ("", "[{}]", '[{"path": 1}]', "{}", "nonsense"):
        (store.folder / "index.json").write_text(text)
        assert Store(system=None).entries() == []
