# SPDX-License-Identifier: Apache-2.0
"""C that is compiled when a test runs, and what other tools say of it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bpfctl.btf.parse import ByteOrder
from elftools.elf.elffile import ELFFile

from tests.clang import CLANG

TARGETS: dict[ByteOrder, str] = {"little": "bpfel", "big": "bpfeb"}


def compiled(source: str, folder: Path, order: ByteOrder = "little") -> bytes:
    """The ELF object of a C source; the test is skipped where there is no clang."""
    if not CLANG:
        pytest.skip("needs clang")
    output = folder / f"{order}.o"
    command = [
        CLANG,
        "-g",
        "-O2",
        "-target",
        TARGETS[order],
        "-x",
        "c",
        "-c",
        "-o",
        str(output),
        "-",
    ]
    subprocess.run(command, input=source.encode(), check=True)
    return output.read_bytes()


def section(elf: bytes, name: str) -> bytes:
    """Contents of an ELF section."""
    found = ELFFile(io.BytesIO(elf)).get_section_by_name(name)
    assert found is not None, name
    return bytes(found.data())


def bpftool_types(path: Path) -> list[dict[str, Any]]:
    """Types as bpftool lists them; the test is skipped where there is no bpftool."""
    bpftool = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin:/sbin")
    if bpftool is None:
        pytest.skip("needs bpftool")
    done = subprocess.run(
        [bpftool, "-j", "btf", "dump", "file", str(path)], capture_output=True, check=True
    )
    types: list[dict[str, Any]] = json.loads(done.stdout)["types"]
    return types
