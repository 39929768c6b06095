# SPDX-License-Identifier: Apache-2.0
"""An ELF vmlinux: its BTF, made from its DWARF where it has none."""

from __future__ import annotations

import mmap
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from bpfctl.progress import Progress, silent

from . import hosttools
from .errors import KernelBtfError
from .identity import KernelBuild, banner
from .image import Kernel

_ARCHITECTURES = {
    "EM_386": "x86",
    "EM_X86_64": "x86",
    "EM_AARCH64": "arm64",
    "EM_ARM": "arm",
    "EM_RISCV": "riscv",
    "EM_S390": "s390",
    "EM_PPC": "powerpc",
    "EM_PPC64": "powerpc",
    "EM_MIPS": "mips",
    "EM_LOONGARCH": "loongarch",
}


def is_elf(path: Path) -> bool:
    """Whether the file is an ELF file."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def read(path: Path, progress: Progress = silent) -> Kernel:
    """BTF and build of a vmlinux; raises KernelBtfError when it has neither BTF nor DWARF."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        try:
            elf = ELFFile(file)
            architecture = _ARCHITECTURES.get(elf["e_machine"], "")
            build_id = _build_id(elf)
            section = elf.get_section_by_name(".BTF")
            btf = bytes(section.data()) if section is not None else b""
            has_dwarf = elf.get_section_by_name(".debug_info") is not None
        except (ELFError, ValueError, KeyError) as error:
            raise KernelBtfError(f"{path} is a damaged ELF file ({error})") from None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = banner(content)  # type: ignore[arg-type]
    build = (found or KernelBuild()).completed(KernelBuild(architecture, build_id=build_id))
    if not btf:
        if not has_dwarf:
            raise KernelBtfError(
                f"{path} has neither BTF nor debug information (DWARF)",
                "give the vmlinux that was not stripped, as it is in packages of debug symbols",
            )
        btf = encode(path, progress)
    return Kernel(build, btf)


def encode(path: Path, progress: Progress = silent) -> bytes:
    """BTF made from the DWARF of an ELF file, by pahole; raises KernelBtfError."""
    command = hosttools.command(hosttools.PAHOLE, progress)
    progress("making BTF of debug information", 0, 0)
    with tempfile.TemporaryDirectory(prefix="bpfctl-btf-") as place:
        out = Path(place, "btf")
        done = subprocess.run(
            [*command, "--btf_encode_detached", str(out), str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode or not out.exists():
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
            raise KernelBtfError(
                f"pahole cannot make BTF of {path}: {said[0]}",
                "a newer pahole may (Debian: apt install dwarves); BPFCTL_PAHOLE names another",
            )
        return out.read_bytes()


def _build_id(elf: Any) -> str:
    from elftools.elf.sections import NoteSection

    for section in elf.iter_sections():
        if not isinstance(section, NoteSection) or section["sh_size"] > 1 << 16:
            continue
        for note in section.iter_notes():
            if note["n_type"] == "NT_GNU_BUILD_ID":
                return str(note["n_desc"])
    return ""
