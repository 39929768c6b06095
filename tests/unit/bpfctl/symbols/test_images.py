# SPDX-License-Identifier: Apache-2.0
"""Which file tells the functions of a mapping."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from bpfctl.files import Files
from bpfctl.symbols import target_files
from bpfctl.symbols.images import Image, Images
from bpfctl.symbols.process import Process
from bpfctl.symbols.store import Store
from bpfctl.symbols.symcaches import Symcaches
from bpfctl.symbols.target_files import TargetFiles

from .built import address, build, needs_clang, objcopy, stripped
from .target_double import BASE, FilesDouble, facts, map_file, process_of

pytestmark = needs_clang


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its segments lie at other addresses than offsets."""
    path = build(tmp_path_factory.mktemp("images") / "lib.so")
    assert all(each.offset != each.address for each in facts(path).segments if each.executable)
    return path


def images(files: FilesDouble) -> Images:
    return Images(TargetFiles(cast("Files", files)), Store(system=None), Symcaches())


def names(found: Image, process: Process, binary: Path, name: str) -> list[str]:
    """Functions at the first address of one, as the process would have it."""
    mapping = process.find(BASE + address(binary, name))
    assert mapping is not None
    offset = BASE + address(binary, name) - mapping.start + mapping.file_offset
    return [each.name for each in found.find(offset)]


def test_the_stores_binary_stands_for_the_stripped_one(binary: Path, tmp_path: Path) -> None:
    bare = stripped(binary, tmp_path / "bare.so")
    process = process_of(bare)
    files = FilesDouble({map_file(process): bare})
    found = images(files).of(process, process.mappings[0])
    assert names(found, process, binary, "hidden") == []
    Store(system=None).add(binary)
    files.fetched = 0
    found = images(files).of(process, process.mappings[0])
    assert names(found, process, binary, "hidden") == ["hidden"]
    assert found.find(found.segments.address_of(0) or 0) == () if found.segments else False
    assert files.fetched == 0, "its segments were kept"
    assert (found.path, found.note) == ("/usr/lib/lib.so", "")


def test_only_the_head_is_fetched_where_the_store_has_lines(
    binary: Path, tmp_path: Path
) -> None:
    debug = tmp_path / "lib.debug"
    objcopy("--only-keep-debug", binary, debug)
    Store(system=None).add(debug)
    process = process_of(binary)
    files = FilesDouble({map_file(process): binary})
    found = images(files).of(process, process.mappings[0])
    assert names(found, process, binary, "hidden") == ["hidden"]
    assert 0 < files.fetched <= 16 << 10


def test_a_debuglink_leads_to_the_store(tmp_path: Path) -> None:
    binary = build(tmp_path / "lib.so", "-Wl,--build-id=none")
    debug, bare = tmp_path / "lib.debug", tmp_path / "bare.so"
    objcopy("--only-keep-debug", binary, debug)
    objcopy("--strip-all", f"--add-gnu-debuglink={debug}", binary, bare)
    process = process_of(bare)
    files = FilesDouble({map_file(process): bare})
    found = images(files).of(process, process.mappings[0])
    assert names(found, process, binary, "hidden") == []
    Store(system=None).add(debug)
    found = images(files).of(process, process.mappings[0])
    assert names(found, process, binary, "hidden") == ["hidden"]


def test_debug_files_of_the_target_itself(binary: Path, tmp_path: Path) -> None:
    debug, bare = tmp_path / "lib.debug", stripped(binary, tmp_path / "bare.so")
    objcopy("--only-keep-debug", binary, debug)
    build_id = facts(binary).build_id
    process = process_of(bare)
    place = f"/usr/lib/debug/.build-id/{build_id[:2]}/{build_id[2:]}.debug"
    files = FilesDouble({map_file(process): bare, place: debug})
    found = images(files).of(process, process.mappings[0])
    assert names(found, process, binary, "hidden") == ["hidden"]


def test_another_file_under_the_path_is_never_taken(binary: Path, tmp_path: Path) -> None:
    other = build(tmp_path / "other.so", "-O2")
    assert facts(other).build_id != facts(binary).build_id
    process = process_of(binary)
    found = images(FilesDouble({"/usr/lib/lib.so": other})).of(process, process.mappings[0])
    assert names(found, process, binary, "hidden") == []
    assert "/usr/lib/lib.so is another build now" in found.note
    # One that ended, but whose file is still there; and one whose file was seen elsewhere.
    found = images(FilesDouble({"/usr/lib/lib.so": binary})).of(process, process.mappings[0])
    assert names(found, process, binary, "hidden") == ["hidden"]


def test_another_process_may_still_have_the_file(binary: Path) -> None:
    ended, living = process_of(binary, pid=7), process_of(binary, pid=8)
    finder = images(FilesDouble({map_file(living): binary}))
    finder.remember(living)
    found = finder.of(ended, ended.mappings[0])
    assert names(found, ended, binary, "exported") == ["hidden", "exported"] or names(
        found, ended, binary, "exported"
    ) == ["exported"]


def test_ended_processes_of_files_that_were_fetched(binary: Path) -> None:
    process = process_of(binary)
    images(FilesDouble({map_file(process): binary})).of(process, process.mappings[0])
    later = images(FilesDouble())
    assert names(later.of(process, process.mappings[0]), process, binary, "hidden")
    by_id = later.by_build_id(facts(binary).build_id)
    assert by_id is not None
    assert names(by_id, process, binary, "hidden") == ["hidden"]
    assert later.by_build_id("11" * 20) is None


def test_without_a_build_id_the_file_must_be_the_same(tmp_path: Path) -> None:
    binary = build(tmp_path / "lib.so", "-Wl,--build-id=none")
    other = build(tmp_path / "other.so", "-Wl,--build-id=none", "-O2")
    process = process_of(binary)
    assert process.mappings[0].build_id == b""
    found = images(FilesDouble({"/usr/lib/lib.so": binary})).of(process, process.mappings[0])
    assert names(found, process, binary, "hidden") == ["hidden"]
    found = images(FilesDouble({"/usr/lib/lib.so": other})).of(process, process.mappings[0])
    assert names(found, process, binary, "hidden") == []
    assert "another file now" in found.note


def test_big_files_are_not_fetched(binary: Path) -> None:
    process = process_of(binary)
    files = FilesDouble({map_file(process): binary}, size=target_files.MAX_FILE_BYTES + 1)
    found = images(files).of(process, process.mappings[0])
    assert names(found, process, binary, "hidden") == []
    assert "`bpfctl symbols add` a copy of it" in found.note
    assert files.fetched <= 16 << 10


def test_several_executable_segments(tmp_path: Path) -> None:
    source = """
        __attribute__((section(".far"), noinline)) int far(int x) { return x * 7; }
        __attribute__((noinline)) int near(int x) { return far(x) + 1; }
    """
    binary = build(tmp_path / "lib.so", "-Wl,--section-start=.far=0x600000", source=source)
    executable = [each for each in facts(binary).segments if each.executable]
    assert len(executable) == 2
    process = process_of(binary)
    finder = images(FilesDouble({map_file(process, at): binary for at in (0, 1)}))
    for name in ("near", "far"):
        mapping = process.find(BASE + address(binary, name))
        assert mapping is not None
        assert names(finder.of(process, mapping), process, binary, name) == [name]
