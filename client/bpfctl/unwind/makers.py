# SPDX-License-Identifier: Apache-2.0
"""Makes tables in processes of their own: a large file takes seconds of computing, in which
whoever reads samples is not to stand still."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfctl.config import cache_dir
from bpfctl.unwind.file_table import Table, kept

if TYPE_CHECKING:
    from pathlib import Path

_VERSION = 1
"""Of the rows in the cache: raised when the same file would give others."""


class Makers:
    """Tables of files, from the workstation's cache or made; may be asked by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._closed = False

    def table(self, build_id: str, fetch: Callable[[], Path]) -> Table:
        """The table of the file that `fetch` brings, asked only when it is not in the cache.

        `build_id` is hexadecimal, or empty. Raises ValueError: the file has none, is damaged,
        or `close` was called meanwhile.
        """
        file = None
        if not build_id:
            file = fetch()
            build_id = f"sha256-{hashlib.sha256(file.read_bytes()).hexdigest()}"
        path = cache_dir() / "unwind" / f"{build_id}-{_VERSION}.npz"
        if (found := kept(path)) is not None:
            return found
        self._make(file or fetch(), path)
        if (found := kept(path)) is None:
            raise ValueError(f"its table was lost from {path}")
        return found

    def close(self) -> None:
        """Ends what is being made."""
        with self._lock:
            self._closed = True
            for process in self._running:
                process.kill()

    def _make(self, file: Path, path: Path) -> None:
        command = [sys.executable, "-m", "bpfctl.unwind", str(file), str(path)]
        with self._lock:
            if self._closed:
                raise ValueError(_LATE)
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            self._running.add(process)
        _, said = process.communicate()
        with self._lock:
            self._running.discard(process)
        if process.returncode:
            lines = said.strip().splitlines()
            raise ValueError(_LATE if self._closed else lines[-1] if lines else "it ended")


_LATE = "its table was not ready in time"
