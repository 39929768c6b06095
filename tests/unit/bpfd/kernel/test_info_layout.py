# SPDX-License-Identifier: Apache-2.0
"""Structures of BPF_OBJ_GET_INFO_BY_FD are those of uapi/linux/bpf.h, on every architecture."""

from __future__ import annotations

import ctypes
import os
import subprocess

import pytest

from bpfd.kernel.info import MapInfo, ProgInfo
from tests.clang import CLANG

TARGETS = [
    "x86_64-linux-gnu",
    "aarch64-linux-gnu",
    "armv7-linux-gnueabihf",
    "riscv64-linux-gnu",
]
SKIPPED = ("gpl_compatible", "_pad", "map_extra", "btf_vmlinux_id")
"""A bit field in C has no offset; the others are newer than the oldest headers."""


@pytest.mark.skipif(
    not CLANG or bool(os.environ.get("BPFD_TEST_OBJECTS")), reason="needs clang"
)
@pytest.mark.parametrize("target", TARGETS)
def test_offsets(target: str) -> None:
    """Here all have the same: every u64 is aligned to 8 bytes, also where pointers have 4."""
    checks = ["#include <stddef.h>", "#include <linux/bpf.h>"]
    for name, structure in (("bpf_prog_info", ProgInfo), ("bpf_map_info", MapInfo)):
        for field, *_ in structure._fields_:
            if field in SKIPPED:
                continue
            offset = getattr(structure, field).offset
            what = f"offsetof(struct {name}, {field}) == {offset}"
            checks.append(f'_Static_assert({what}, "{field}");')
    machine = os.uname().machine
    command = [CLANG, f"--target={target}", "-fsyntax-only", "-x", "c", "-"]
    command += ["-isystem", f"/usr/include/{machine}-linux-gnu", "-isystem", "/usr/include"]
    done = subprocess.run(
        command, input="\n".join(checks), text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(checks) > 45
    assert ctypes.sizeof(ProgInfo) == 232
