# SPDX-License-Identifier: Apache-2.0
"""A folder of the cache that stays below a size: what was used longest ago goes first."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BoundedFolder:
    """Files by name; a cache that cannot be written to keeps nothing, and is no error."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.max_bytes = max_bytes

    def find(self, name: str) -> Path | None:
        """The file of a name, which counts as used now; None: there is none."""
        path = self.path / name
        try:
            os.utime(path)
        except OSError:
            return None
        return path

    @contextmanager
    def fresh(self) -> Iterator[Path]:
        """A file to write beside the others, for `keep`; gone afterwards if it was not kept.

        Raises OSError.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd, name = tempfile.mkstemp(prefix=".new-", dir=self.path)
        os.close(fd)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def keep(self, written: Path, name: str) -> Path:
        """Give what was written its name; makes room. Raises OSError."""
        self._make_room(written.stat().st_size)
        path = self.path / name
        os.replace(written, path)
        return path

    def _make_room(self, size: int) -> None:
        files = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if not entry.name.startswith(".new-"):
                        files.append((status.st_mtime_ns, status.st_size, entry.path))
        held = sum(each[1] for each in files)
        for _, bytes_, path in sorted(files):
            if held + size <= self.max_bytes:
                return
            with contextlib.suppress(OSError):
                os.unlink(path)
            held -= bytes_
