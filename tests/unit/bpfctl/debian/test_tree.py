# SPDX-License-Identifier: Apache-2.0
"""Package files become one tree."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from bpfctl.debian import ArchiveError, tree
from bpfctl.debian.libraries import closure, needs

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


def deb(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    root = folder / name
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.example>\n"
        "Description: test\n"
    )
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    out = folder / f"{name}.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "-Znone", root, out], check=True, capture_output=True
    )
    return out


def test_folders_of_the_root_are_merged_into_usr(tmp_path: Path) -> None:
    old = deb(tmp_path, "old", {"lib/a.so": b"a", "usr/lib/b.so": b"b"})
    new = deb(tmp_path, "new", {"usr/lib/c.so": b"c", "bin/tool": b"t"})
    place = tmp_path / "trees" / "one"
    tree.unpack([old, new], place)
    assert sorted(path.name for path in (place / "lib").iterdir()) == ["a.so", "b.so", "c.so"]
    assert (place / "usr/bin/tool").read_bytes() == b"t"
    assert (place / "lib").is_symlink()
    assert [path.name for path in place.parent.iterdir()] == ["one"]


def test_a_damaged_file_leaves_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.deb"
    broken.write_bytes(b"!<arch>\nnothing")
    place = tmp_path / "trees" / "one"
    with pytest.raises(ArchiveError, match=r"broken\.deb cannot be unpacked"):
        tree.unpack([broken], place)
    assert list(place.parent.iterdir()) == []


def test_who_comes_second_finds_the_tree(tmp_path: Path) -> None:
    package = deb(tmp_path, "one", {"usr/share/x": b"x"})
    place = tmp_path / "trees" / "one"
    tree.unpack([package], place)
    tree.unpack([package], place)
    assert (place / "usr/share/x").read_bytes() == b"x"


def test_the_key_of_a_tree_does_not_depend_on_the_order() -> None:
    assert tree.key(["a", "b"]) == tree.key(["b", "a"]) != tree.key(["a", "c"])


def test_libraries_of_a_real_program(tmp_path: Path) -> None:
    shell = Path(shutil.which("dpkg-deb") or "").resolve()
    asked = needs(shell)
    assert asked is not None
    assert "libc.so.6" in asked.libraries
    assert asked.interpreter
    assert needs(Path(__file__)) is None
    with pytest.raises(ArchiveError, match=r"dpkg-deb needs .*in none of the packages"):
        closure([shell], tmp_path, "x86_64-linux-gnu")
