# SPDX-License-Identifier: Apache-2.0
"""The library's view of the target's files, through a real daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import bpfctl
import pytest
from bpfctl.errors import InvalidArgument, NotFound, PermissionMissing
from bpfctl.target import Target

from bpfd.v1 import files_pb2
from tests.kernel.conftest import RunningDaemon


@pytest.fixture
def target(daemon: RunningDaemon) -> Iterator[Target]:
    with bpfctl.connect(f"unix:{daemon.socket}") as found:
        yield found


def test_read(target: Target) -> None:
    assert target.files.read("/proc/version") == Path("/proc/version").read_bytes()
    assert target.files.read("/proc/version", 6, 7) == b"version"
    btf = Path("/sys/kernel/btf/vmlinux")
    if btf.exists():
        pieces = list(target.files.chunks(str(btf)))
        assert b"".join(pieces) == btf.read_bytes()
        assert len(pieces) > 1


def test_stat_and_list(target: Target) -> None:
    found = target.files.stat("/proc/self", follow=False)
    assert found.type == files_pb2.FILE_TYPE_SYMLINK
    names = [Path(entry.path).name for entry in target.files.list("/sys/kernel")]
    assert sorted(names) == sorted(os.listdir("/sys/kernel"))
    program = os.path.realpath("/bin/sh")
    assert target.files.stat(program).size == os.stat(program).st_size


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/proc/no/such/file", NotFound),
        ("/etc/shadow", PermissionMissing),
        ("/proc/self/environ", PermissionMissing),
        ("relative", InvalidArgument),
    ],
)
def test_what_is_refused(target: Target, path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        target.files.read(path)
