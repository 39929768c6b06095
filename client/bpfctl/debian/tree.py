# SPDX-License-Identifier: Apache-2.0
"""Unpacking package files into a folder that looks like a root."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import ArchiveError

TRIPLETS = {
    "amd64": "x86_64-linux-gnu",
    "arm64": "aarch64-linux-gnu",
    "armhf": "arm-linux-gnueabihf",
    "riscv64": "riscv64-linux-gnu",
}
"""Folder of libraries by Debian's word for an architecture."""

LIBRARY_FOLDERS = ("usr/lib/{triplet}", "usr/lib")
"""Where a tree holds libraries, in the loader's order."""

_MERGED = ("bin", "lib", "lib32", "lib64", "sbin")
"""Folders of the root that are links into /usr (https://wiki.debian.org/UsrMerge)."""


def key(hashes: Iterable[str]) -> str:
    """Name of the tree of packages with these hashes, whatever their order."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()[:32]


def unpack(files: Sequence[Path], place: Path) -> None:
    """Unpack package files over each other; `place` appears when all is there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".unpack-", dir=place.parent))
    try:
        for name in _MERGED:
            (fresh / "usr" / name).mkdir(parents=True, exist_ok=True)
            (fresh / name).symlink_to(f"usr/{name}")
        for file in files:
            _unpack_one(file, fresh)
        fresh.chmod(0o755)
        try:
            os.rename(fresh, place)
        except OSError:
            # Another process was first with the same content.
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _unpack_one(file: Path, root: Path) -> None:
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as reading:
        done = subprocess.run(
            [
                "tar",
                "--extract",
                "--keep-directory-symlink",
                "--no-same-owner",
                "--delay-directory-restore",
                "--mode=u+w",
                f"--directory={root}",
            ],
            stdin=reading.stdout,
            capture_output=True,
            text=True,
        )
        assert reading.stdout is not None
        reading.stdout.close()
        assert reading.stderr is not None
        said = done.stderr + reading.stderr.read().decode(errors="replace")
    if done.returncode or reading.returncode:
        raise ArchiveError(
            f"{file.name} cannot be unpacked: {said.strip() or 'no reason given'}",
            f"remove {file} if it is damaged, and see whether the disk is full",
        )
