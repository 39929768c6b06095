# SPDX-License-Identifier: Apache-2.0
"""Compiles test programs, or takes those that were compiled beforehand.

A board has no compiler. `BPFD_TEST_OBJECTS` names a folder there with objects that
`compile_to` wrote on the workstation.
"""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import tempfile
from pathlib import Path

from tests.clang import CLANG

PROGRAMS = Path(__file__).parent / "programs"

GETPRIORITY = {"x86_64": 140, "aarch64": 141, "riscv64": 141, "armv7l": 96}
"""Number of getpriority(2) by the machine, of asm/unistd.h."""


def objects_folder() -> Path | None:
    """Where objects lie that were compiled beforehand; None: there is a compiler."""
    folder = os.environ.get("BPFD_TEST_OBJECTS")
    return Path(folder) if folder else None


def object_name(name: str, *defines: str) -> str:
    """File of a compiled program in that folder."""
    return "-".join((name, *defines)) + ".bpf.o"


def clang() -> str:
    """Path of a clang that knows BPF, or of the objects; empty: there is neither."""
    return CLANG


@functools.cache
def compiled(name: str, *defines: str) -> bytes:
    """tests/kernel/programs/NAME.bpf.c as an ELF object."""
    if (folder := objects_folder()) is not None:
        return (folder / object_name(name, *defines)).read_bytes()
    with tempfile.TemporaryDirectory(prefix="bpfd-test-") as scratch:
        target = Path(scratch, f"{name}.bpf.o")
        compile_to(target, name, *defines)
        return target.read_bytes()


def compile_to(
    target: Path, name: str, *defines: str, machine: str = "", quiet: bool = False
) -> None:
    """Compiles for the machine of that `uname -m`; empty: this one. Raises CalledProcessError.

    `quiet`: what the compiler says is not shown.
    """
    machine = machine or platform.machine()
    include = f"/usr/include/{os.uname().machine}-linux-gnu"
    command = [CLANG, "-g", "-O2", "-Wall", "-Werror", "-target", "bpf", "-I", include]
    command += [f"-D{each}" for each in defines]
    command.append(f"-DGETPRIORITY={GETPRIORITY[machine]}")
    source = PROGRAMS / f"{name}.bpf.c"
    words = [*command, "-c", str(source), "-o", str(target)]
    subprocess.run(words, check=True, capture_output=quiet)
