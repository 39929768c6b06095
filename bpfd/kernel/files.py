# SPDX-License-Identifier: Apache-2.0
"""Small state files, written whole or not at all."""

from __future__ import annotations

import contextlib
import os


def write_atomic(path: str, data: bytes) -> None:
    """Puts `data` under `path` by a rename; makes the folder. Raises OSError."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    fresh = f"{path}.new"
    try:
        with open(fresh, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise


def read(path: str) -> bytes | None:
    """What is in a file; None: there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def remove(path: str) -> None:
    """Removes a file, and its folder when that is empty now.

    What a process that was killed had not put under `path` yet goes, too.
    """
    for each in (path, f"{path}.new"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(each)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(path))
