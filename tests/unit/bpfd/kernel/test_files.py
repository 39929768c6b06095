# SPDX-License-Identifier: Apache-2.0
"""State files: whole, or not there, and nothing beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bpfd.kernel import files


def test_written_read_and_removed(tmp_path: Path) -> None:
    path = str(tmp_path / "folder" / "note")
    files.write_atomic(path, b"one")
    files.write_atomic(path, b"two")
    assert files.read(path) == b"two"
    files.remove(path)
    assert files.read(path) is None
    assert list(tmp_path.iterdir()) == []
    files.remove(path)


def test_a_write_that_fails_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "note")
    files.write_atomic(path, b"one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomic(path, b"two")
    assert files.read(path) == b"one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["note"]


def test_what_a_killed_process_left_goes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "note"
    files.write_atomic(str(path), b"one")
    path.with_name("note.new").write_bytes(b"tw")
    files.remove(str(path))
    assert list(tmp_path.iterdir()) == []
