# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import shutil
import subprocess

import pytest
from bpfctl.lab.cpio import Cpio

from tests.unit.bpfctl.lab import newc


def archive() -> Cpio:
    made = Cpio()
    made.folder("/")
    made.file("/bin/busybox", b"\x7fELF.", 0o755)
    made.link("/bin/sh", "busybox")
    made.folder("/root", 0o700)
    made.file("/bin-list", b"")
    return made


def test_bytes_of_an_archive() -> None:
    """Written down once; what the kernel unpacked as it should."""
    small = Cpio()
    small.file("/a", b"hi\n", 0o600)
    # inode, mode, uid, gid, links, time, size, 4 device numbers, size of the name, checksum
    file = ["00000001", "00008180", *["00000000"] * 2, "00000001", "00000000", "00000003"]
    end = ["00000000", "00000000", *["00000000"] * 2, "00000001", "00000000", "00000000"]
    numbers = ["070701", *file, *["00000000"] * 4, "00000002", "00000000"]
    trailer = ["070701", *end, *["00000000"] * 4, "0000000B", "00000000"]
    texts = [*numbers, "a\0", "hi\n\0", *trailer, "TRAILER!!!\0\0\0\0"]
    expected = "".join(texts).encode()
    assert small.pack() == expected.ljust(512, b"\0")


def test_entries_come_back() -> None:
    found = newc.read(archive().pack())
    assert list(found) == [".", "bin", "bin-list", "bin/busybox", "bin/sh", "root"]
    assert found["bin/busybox"] == newc.Entry(0o100755, b"\x7fELF.", 4)
    assert found["bin/sh"].data == b"busybox"
    assert oct(found["bin/sh"].mode) == "0o120777"
    assert oct(found["root"].mode) == "0o40700"
    assert [entry.inode for entry in found.values()] == [1, 2, 3, 4, 5, 6]


def test_same_entries_give_same_bytes_in_any_order() -> None:
    one, two = Cpio(), Cpio()
    one.file("/x", b"x")
    one.folder("/y")
    two.folder("/y")
    two.file("/x", b"x")
    assert one.pack() == two.pack()
    assert len(archive().pack()) % 512 == 0
    digest = hashlib.sha256(archive().pack()).hexdigest()
    assert digest == hashlib.sha256(archive().pack()).hexdigest()


def test_a_folder_gets_the_last_mode() -> None:
    made = Cpio()
    made.file("/keys/a", b"")
    made.folder("/keys", 0o700)
    assert newc.read(made.pack())["keys"].mode == 0o40700


@pytest.mark.parametrize("path", ["a", "", "/a//b", "/a\0b"])
def test_paths_are_absolute(path: str) -> None:
    with pytest.raises(ValueError, match="not an absolute path"):
        Cpio().file(path, b"")


def test_nothing_is_put_behind_a_link() -> None:
    made = Cpio()
    made.link("/sbin", "bin")
    with pytest.raises(ValueError, match="/sbin is not a folder"):
        made.file("/sbin/x", b"")


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs cpio")
def test_others_read_it_too() -> None:
    done = subprocess.run(
        ["cpio", "--list", "--verbose", "--numeric-uid-gid"],
        input=archive().pack(),
        capture_output=True,
        check=True,
    )
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == [
        "drwxr-xr-x", "drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x", "lrwxrwxrwx", "drwx------",
    ]  # fmt: skip
    assert lines[4].endswith("bin/sh -> busybox")
