# SPDX-License-Identifier: Apache-2.0
"""Compiles test programs."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from pathlib import Path

from tests.clang import CLANG

PROGRAMS = Path(__file__).parent / "programs"


def clang() -> str:
    """Path of a clang that knows BPF; empty: there is none."""
    return CLANG


@functools.cache
def compiled(name: str, *defines: str) -> bytes:
    """tests/kernel/programs/NAME.bpf.c as an ELF object."""
    with tempfile.TemporaryDirectory(prefix="bpfd-test-") as folder:
        target = Path(folder, f"{name}.bpf.o")
        include = f"/usr/include/{os.uname().machine}-linux-gnu"
        command = [clang(), "-g", "-O2", "-Wall", "-Werror", "-target", "bpf", "-I", include]
        command += [f"-D{each}" for each in defines]
        source = PROGRAMS / f"{name}.bpf.c"
        subprocess.run([*command, "-c", str(source), "-o", str(target)], check=True)
        return target.read_bytes()
