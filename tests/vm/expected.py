# SPDX-License-Identifier: Apache-2.0
"""What each board's kernel cannot do, measured: whatever else does not work is a defect.

Debian's kernels differ by version and by architecture. A test may be skipped on a board for
a reason of this table and for no other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

BOARDS = (
    "amd64-6.1",
    "amd64-6.12",
    "amd64-7.2",
    "arm64-6.1",
    "arm64-6.12",
    "arm64-7.2",
    "armhf-6.1",
    "armhf-6.12",
    "riscv64-6.12",
)

PUSHED = ("armhf-6.1", "arm64-6.12", "amd64-6.1")
"""The boards that every change is tested on, the slowest first."""

_6_1 = ".*-6[.]1"

_NO_BTF = "armhf-.*"
"""Debian builds kernels for 32-bit ARM without BTF."""

MISSING: Mapping[str, str] = {
    # by the kernel's version
    "program netfilter": _6_1,
    "map cgrp_storage": _6_1,
    "tcx link": _6_1,
    "netfilter link": _6_1,
    "netkit link": _6_1,
    "sockmap link": _6_1,
    "uprobe multi link": f"{_6_1}|armhf-.*",
    "struct_ops link": _6_1,
    "cgroup Unix sockets": _6_1,
    "instructions v4": _6_1,
    "map arena": f"{_6_1}|armhf-.*",
    "map insn_array": f"{_6_1}|.*-6.12",
    "uprobe session link": f"{_6_1}|.*-6.12",
    # by what the architecture has
    "fentry": f"{_NO_BTF}|arm64-6.1",
    "fexit": f"{_NO_BTF}|arm64-6.1",
    "LSM": f"{_NO_BTF}|arm64-6.1",
    "LSM of cgroups": f"{_NO_BTF}|arm64-6.1",
    "kprobe multi link": f"{_NO_BTF}|{_6_1}|arm64-6.12|riscv64-.*",
    "kprobe of functions": "riscv64-.*",
    "hardware counters": "amd64-.*|armhf-.*|riscv64-.*",
    # by how Debian built the kernel
    "kernel BTF": _NO_BTF,
    "tp_btf": _NO_BTF,
    "iterator": _NO_BTF,
    "struct_ops": _NO_BTF,
    "program lirc_mode2": ".*",
}
"""Features by the name that `target info --features` gives them, and the boards (a pattern)
whose kernels lack them."""

SKIPS: Mapping[str, str] = {
    r"needs two CPUs": ".*",
    r"one link takes one file": ".*",
    r"there is no Python with probes": ".*",
    r"perf is not installed": ".*",
    r"no program is at hand that can be copied": ".*",
    r"a 32-bit kernel is played on the workstation": ".*",
    r"an order of programs on a cgroup": ".*-6[.]1|.*-6[.]12",
    r"needs (the kernel's types|kernel BTF)": _NO_BTF,
    r"this kernel tells nothing of perf links": _6_1,
    r"this kernel has no (netkit|tcx)": _6_1,
    r"registers a map once|does not exchange a struct_ops|no links for struct_ops": _6_1,
    r"cookies of raw tracepoints": _6_1,
    r"this kernel has no links for sockmaps": _6_1,
    r"no shared C library is where the loader looks": ".*",
    r"kprobes where functions begin": "riscv64-.*",
    r"this machine counts cycles": "arm64-.*",
    r"this kernel does not tell where (a perf|such a) link is": _6_1,
    r"this kernel's JIT has no functions": "armhf-.*|riscv64-.*",
    r"JITed|JIT is required": "armhf-.*|riscv64-.*",
    r"injects no errors into functions": ".*",
    r"lets no program sleep there": _6_1,
    r"does not support fsession": ".*-6[.].*",
    r"function 'bpf_(wq_init|throw)'": _6_1,
    r"programs that see entry and return": f"{_6_1}|.*-6[.]12",
}
"""Reasons of skipped tests (patterns), and the boards on which they may be given."""


def lacks(board: str, feature: str) -> bool:
    """Whether the kernel of a board is known to lack a feature."""
    return re.fullmatch(MISSING.get(feature, ""), board) is not None


def allows(board: str, reason: str) -> bool:
    """Whether a test may be skipped on a board for that reason."""
    if any(feature.lower() in reason.lower() and lacks(board, feature) for feature in MISSING):
        return True
    return any(
        re.search(pattern, reason, re.IGNORECASE) and re.fullmatch(boards, board)
        for pattern, boards in SKIPS.items()
    )
