# SPDX-License-Identifier: Apache-2.0
"""Tables are made once, apart, and kept."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
from bpfctl.unwind.file_table import table_of  # noqa: E402
from bpfctl.unwind.makers import Makers  # noqa: E402

from tests.unit.bpfctl.unwind.test_rows import libc  # noqa: E402


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path))
    return tmp_path / "unwind"


def small() -> Path:
    """A library that its C library brings; it has few functions."""
    return next(libc().parent.glob("libdl.so.*"))


def never() -> Path:
    raise AssertionError("fetched again")


@pytest.mark.parametrize("build_id", ["abcd", ""])
def test_a_table_is_kept(cache: Path, build_id: str) -> None:
    made = Makers().table(build_id, small)
    wanted = table_of(small())
    assert len(wanted.rows)
    assert np.array_equal(made.rows, wanted.rows)
    assert list(made.segments) == list(wanted.segments)
    again = Makers().table(build_id, never if build_id else small)
    assert np.array_equal(again.rows, made.rows)
    (stored,) = cache.iterdir()
    stored.write_bytes(b"damaged")
    assert np.array_equal(Makers().table(build_id, small).rows, made.rows)


def test_a_file_that_has_none(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("#!/bin/sh")
    with pytest.raises(ValueError, match=r"[Mm]agic|ELF"):
        Makers().table("ab", lambda: path)


def test_what_is_being_made_is_given_up(cache: Path) -> None:
    makers = Makers()
    timer = threading.Timer(0.05, makers.close)
    timer.start()
    with pytest.raises(ValueError, match="not ready in time"):
        makers.table("abcd", libc)
    with pytest.raises(ValueError, match="not ready in time"):
        makers.table("abcd", libc)
    timer.join()
    assert not list(cache.glob("abcd-*.npz"))
