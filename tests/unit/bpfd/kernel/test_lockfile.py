# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bpfd.kernel import lockfile


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    lock = lockfile.acquire(path)
    assert Path(path).read_text() == f"{os.getpid()}\n"
    with pytest.raises(lockfile.Held) as caught:
        lockfile.acquire(path)
    assert caught.value.pid == os.getpid()
    lock.release()
    lock.release()
    assert not Path(path).exists()
    lockfile.acquire(path).release()


def test_a_killed_holder_leaves_a_file_but_no_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    code = (
        "import sys, os; from bpfd.kernel import lockfile; "
        "lockfile.acquire(sys.argv[1]); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=False)
    assert Path(path).exists()
    lockfile.acquire(path).release()


def test_a_folder_names_its_holder(tmp_path: Path) -> None:
    handle = lockfile.lock_folder(str(tmp_path))
    try:
        with pytest.raises(lockfile.Held) as caught:
            lockfile.lock_folder(str(tmp_path))
        assert caught.value.pid == os.getpid()
    finally:
        os.close(handle)
    os.close(lockfile.lock_folder(str(tmp_path)))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        lockfile.acquire(str(tmp_path / "lock"))
    assert not (tmp_path / "elsewhere").exists()
