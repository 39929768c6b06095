# SPDX-License-Identifier: Apache-2.0
"""Folders of their own for what is kept; and symcaches that are made in this process, which
saves a Python's start each."""

from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl.symbols import convert, symcaches

APART = symcaches.convert_apart


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("BPFCTL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(
        symcaches, "convert_apart", lambda path, out: convert.answer(str(path), str(out))
    )
