# SPDX-License-Identifier: Apache-2.0
"""What of a kernel's BTF an object needs, and whether it needs any."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Collection
from pathlib import Path

from bpfctl.compiler import cache
from bpfctl.config import cache_dir
from bpfctl.elf import ObjectFile

from . import hosttools
from .errors import KernelBtfError

FILES_KEPT = 512
"""Reduced BTF in the cache; each has some hundred bytes."""

_TYPE_ID_LOCAL = 6
"""enum bpf_core_relo_kind: the one that the object's own BTF answers."""

_BY_KERNEL_BTF = (
    *("fentry", "fexit", "fmod_ret", "fsession", "tp_btf", "iter"),
    *("lsm", "lsm_cgroup", "struct_ops"),
)
"""Sections of programs that the kernel attaches by its own BTF (libbpf, section_defs)."""


def needs_btf(
    parsed: ObjectFile, skip: Collection[str] = (), also: Collection[str] = ()
) -> bool:
    """Whether an object's CO-RE relocations need BTF of a kernel.

    `skip` are programs that are not loaded, `also` those that are although their section
    turns them off.
    """
    loaded = {
        program.section
        for program in parsed.programs
        if _loads(parsed, program.name, skip, also)
    }
    sections = loaded | {function.section for function in parsed.subprograms}
    return any(
        relocation.kind != _TYPE_ID_LOCAL
        for section, relocations in parsed.core_relocations.items()
        if section in sections
        for relocation in relocations
    )


def attached_by_kernel_btf(
    parsed: ObjectFile, skip: Collection[str] = (), also: Collection[str] = ()
) -> tuple[str, str] | None:
    """Name and section of the first program that needs BTF in the kernel itself."""
    for program in parsed.programs:
        section = program.section.removeprefix("?")
        kind = section.partition("/")[0].removesuffix(".s").removesuffix(".link")
        if kind in _BY_KERNEL_BTF and _loads(parsed, program.name, skip, also):
            return program.name, section
    return None


def _loads(parsed: ObjectFile, name: str, skip: Collection[str], also: Collection[str]) -> bool:
    program = parsed.program(name)
    off = program is not None and program.section.startswith("?")
    return name not in skip and (not off or name in also)


def reduced(elf: bytes, btf: Path, sha256: str) -> bytes:
    """BTF of a kernel without all that an object does not refer to (min CO-RE BTF).

    `btf` is the file with the kernel's, `sha256` its hash. What was made is kept in the
    cache. Raises KernelBtfError.
    """
    place = cache_dir() / "btf" / "min"
    path = place / f"{cache.key(elf, sha256)}.btf"
    try:
        return path.read_bytes()
    except OSError:
        pass
    data = with_long(_reduce(elf, btf), _long_bytes(btf))
    try:
        cache.write(path, data)
        cache.prune(place, FILES_KEPT)
    except OSError:
        pass
    return data


def _reduce(elf: bytes, btf: Path) -> bytes:
    command = hosttools.command(hosttools.BPFTOOL)
    with tempfile.TemporaryDirectory(prefix="bpfctl-btf-") as place:
        source, out = Path(place, "object.bpf.o"), Path(place, "btf")
        source.write_bytes(elf)
        done = subprocess.run(
            [*command, "gen", "min_core_btf", str(btf), str(out), str(source)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode or not out.exists():
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
            raise KernelBtfError(
                f"bpftool cannot reduce the kernel's BTF to what the object needs: {said[0]}",
                "a newer bpftool may; BPFCTL_BPFTOOL names another one",
            )
        return out.read_bytes()


def _long_bytes(btf: Path) -> int:
    from bpfctl.btf import Btf

    return Btf.parse(btf.read_bytes()).pointer_size


def with_long(btf: bytes, size: int) -> bytes:
    """Raw BTF that knows `unsigned long` of `size` bytes.

    libbpf tells the size of pointers by it, else takes that of its own process, which
    differs under a 64-bit kernel with 32-bit programs.
    """
    from bpfctl.btf import Btf

    parsed = Btf.parse(btf)
    if any(
        parsed.find(name) for name in ("long", "long int", "unsigned long", "long unsigned int")
    ):
        return btf
    order = "<" if parsed.byteorder == "little" else ">"
    magic, version, flags, header, types_at, types, strings_at, strings = struct.unpack_from(
        f"{order}HBBIIIII", btf
    )
    old_types = btf[header + types_at :][:types]
    old_strings = btf[header + strings_at :][:strings]
    # struct btf_type of BTF_KIND_INT: name, kind 1, bytes; then encoding and bits.
    added = struct.pack(f"{order}IIII", strings, 1 << 24, size, size * 8)
    new_types, new_strings = old_types + added, old_strings + b"unsigned long\0"
    sizes = (0, len(new_types), len(new_types), len(new_strings))
    head = struct.pack(f"{order}HBBI4I", magic, version, flags, 24, *sizes)
    return head + new_types + new_strings
