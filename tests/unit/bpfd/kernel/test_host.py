# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bpfd.kernel import host


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0", [0]), ("0-3", [0, 1, 2, 3]), ("0-1,4,6-7\n", [0, 1, 4, 6, 7]), ("", [])],
)
def test_cpu_lists(text: str, cpus: list[int]) -> None:
    assert host.cpu_list(text) == cpus


@pytest.mark.parametrize(
    ("release", "version", "signature", "code"),
    [
        ("6.18.44-custom", "#1 SMP", "", (6, 18, 44)),
        ("6.1.0-18-amd64", "#1 SMP Debian 6.1.76-1 (2024-02-01)", "", (6, 1, 76)),
        ("5.15.0-91-generic", "#101", "Ubuntu 5.15.0-91.101-generic 5.15.131", (5, 15, 131)),
        ("4.19.300-android", "#1", "", (4, 19, 255)),
        ("6.12", "#1", "", (6, 12, 0)),
    ],
)
def test_version_codes(
    release: str, version: str, signature: str, code: tuple[int, int, int]
) -> None:
    major, minor, patch = code
    assert host.version_code(release, version, signature) == major << 16 | minor << 8 | patch


def test_a_release_that_is_no_version() -> None:
    assert host.version_code("custom", "#1", "") == 0


def test_capabilities_include_each_other() -> None:
    admin, bpf = 1 << 21, 1 << 39
    assert host.has_capability("CAP_BPF", admin)
    assert host.has_capability("CAP_PERFMON", admin)
    assert not host.has_capability("CAP_NET_ADMIN", admin)
    assert host.has_capability("CAP_BPF", bpf)
    assert not host.has_capability("CAP_SYS_ADMIN", bpf)
    assert not host.has_capability("CAP_BPF", 0)


def test_facts_of_this_machine() -> None:
    facts = host.host()
    assert facts.kernel_release == os.uname().release
    assert len(facts.boot_id) == 36
    assert facts.pointer_bits in (32, 64)
    assert facts.possible_cpus >= len(host.online_cpus()) >= 1


def test_clocks_agree_with_the_time() -> None:
    found = host.clocks()
    now = found.monotonic_epoch + time.monotonic_ns()
    assert abs(now - time.time_ns()) < 100_000_000


def test_reads_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert host.read_bytes(str(tmp_path / "file"), 10) == b"x" * 10
    assert host.read_bytes(str(tmp_path / "file")) == b"x" * 100


def test_groups_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "group"
    path.write_text("root:x:0:\nbpfd2:x:5:\nodd\nbpfd:x:no:\nbpfd:x:997:ann,bob\n")
    assert host.group_id("bpfd", str(path)) == 997
    assert host.group_id("root", str(path)) == 0
    assert host.group_id("odd", str(path)) is None
    assert host.group_id("bpfd", str(tmp_path / "none")) is None
