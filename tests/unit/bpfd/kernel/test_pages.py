# SPDX-License-Identifier: Apache-2.0
"""Which mappings can be read from their files again, and that they are."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import pytest

from bpfd.kernel import pages

SMAPS = """\
55d0a8a00000-55d0a8a2e000 r--p 00000000 fe:00 123                        /opt/bpfd/bin/python3
Rss:                 184 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
55d0a8a2e000-55d0a8b00000 r-xp 0002e000 fe:00 123                        /opt/bpfd/bin/python3
Rss:                 840 kB
Anonymous:             4 kB
55d0a8b00000-55d0a8c00000 r-xp 00000000 00:1f 77                         /opt/a b/lib (deleted)
Anonymous:             0 kB
55d0a8c00000-55d0a8d00000 rw-p 00000000 fe:00 123                        /opt/bpfd/bin/python3
Anonymous:             0 kB
55d0a8d00000-55d0a8e00000 r--s 00000000 00:0f 9                          anon_inode:bpf-map
Anonymous:             0 kB
55d0a8e00000-55d0a8f00000 r--p 00000000 00:16 9                          /sys/kernel/btf/vmlinux
Anonymous:             0 kB
55d0a8f00000-55d0a9000000 r--p 00000000 00:00 0
Anonymous:             0 kB
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
"""


def test_only_what_is_as_in_a_regular_file() -> None:
    assert list(pages.unchanged(SMAPS.splitlines(keepends=True))) == [
        (0x55D0A8A00000, 0x55D0A8A2E000),
        (0x55D0A8B00000, 0x55D0A8C00000),
    ]


def _resident(path: Path) -> int:
    """KiB of a file's mapping in memory."""
    text = Path("/proc/self/smaps").read_text()
    found = re.search(re.escape(str(path)) + r"\n(?:[A-Z].*\n)*?Rss: +(\d+) kB", text)
    assert found is not None
    return int(found[1])


def test_pages_are_released_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 256)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapping,
    ):
        assert sum(mapping[::4096]) == 0
        assert _resident(path) == 64
        pages.release_file_pages()
        assert _resident(path) == 0
        assert mapping[:256] == bytes(range(256))


def test_without_smaps_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", missing)
    pages.release_file_pages()
