# SPDX-License-Identifier: Apache-2.0
"""pahole and bpftool: the workstation's own, else those of a newer Debian, unpacked.

A program of another Debian than the workstation's runs with its own loader and libraries;
nothing is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bpfctl.progress import Progress, silent

from .errors import KernelBtfError

SUITE = "trixie"
"""Debian whose packages are unpacked: its stable release, so that its tools are kept."""

_PATHS = os.pathsep.join(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/sbin"])


@dataclass(frozen=True)
class Tool:
    """A program of the workstation."""

    name: str
    variable: str
    """Environment variable that names another one."""
    package: str
    """Of Debian."""
    oldest: tuple[int, int]


PAHOLE = Tool("pahole", "BPFCTL_PAHOLE", "dwarves", (1, 22))
"""1.22 is the first whose --btf_encode_detached leaves the ELF file alone."""

BPFTOOL = Tool("bpftool", "BPFCTL_BPFTOOL", "bpftool", (6, 8))
"""The first with numbers of its own; `gen min_core_btf` came with Linux 5.18 before it."""


def command(tool: Tool, progress: Progress = silent) -> list[str]:
    """What starts the tool: its variable, else PATH where new enough, else Debian's.

    Raises KernelBtfError.
    """
    override = os.environ.get(tool.variable)
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), _PATHS])
    path = shutil.which(override or tool.name, path=places)
    if override and path is None:
        raise KernelBtfError(f"{tool.variable} is {override!r}, which is no program")
    if path is not None:
        found = version([path])
        if override or found >= tool.oldest:
            return [path]
    try:
        return unpacked(tool, progress)
    except KernelBtfError as error:
        wanted = ".".join(map(str, tool.oldest))
        has = "there is none" if path is None else f"{path} is too old"
        raise KernelBtfError(
            f"{tool.name} {wanted} or newer is needed, and {has} ({error.why})",
            f"install it (Debian: apt install {tool.package}), or set {tool.variable}",
        ) from None


def version(command: Sequence[str]) -> tuple[int, int]:
    """Major and minor number; (0, 0): it does not run or say."""
    try:
        done = subprocess.run(
            [*command, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError):
        return (0, 0)
    match = re.search(r"v(\d+)\.(\d+)", done.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def unpacked(tool: Tool, progress: Progress = silent) -> list[str]:
    """The tool of Debian `SUITE`, run from its unpacked packages; raises KernelBtfError."""
    from bpfctl.debian import Archive, ArchiveError

    arch = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf"}.get(
        os.uname().machine, os.uname().machine
    )
    try:
        archive = Archive(SUITE, arch)
        root = archive.tree(tool.package, progress=progress)
    except ArchiveError as error:
        raise KernelBtfError(str(error)) from None
    program = _program(root, tool.name)
    loader = next(root.glob(f"usr/lib/{archive.triplet}/ld-linux*.so.*"), None)
    if program is None or loader is None:
        raise KernelBtfError(f"Debian's package {tool.package} has no {tool.name}")
    libraries = f"{root}/usr/lib/{archive.triplet}:{root}/usr/lib"
    return [str(loader), "--library-path", libraries, str(program)]


def _program(root: Path, name: str) -> Path | None:
    for folder in ("usr/sbin", "usr/bin"):
        if (path := root / folder / name).exists():
            return path
    return None
