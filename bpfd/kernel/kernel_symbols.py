# SPDX-License-Identifier: Apache-2.0
"""The kernel's own symbols and type information, in pieces."""

from __future__ import annotations

import ctypes
import fnmatch
import os
import re
from collections.abc import Collection, Iterator

from bpfd.errors import KernelError, NotFound, NotSupported, PermissionMissing
from bpfd.kernel import info, mounts, syscall
from bpfd.kernel.constants import Cmd
from bpfd.kernel.host import read_fully

CHUNK = 1 << 20
_BTF = "/sys/kernel/btf"
_KALLSYMS = "/proc/kallsyms"

MODULES = "[]"
"""To `kallsyms`: whatever is in brackets."""


def modules_with_btf() -> list[str]:
    """Names under /sys/kernel/btf, sorted; `vmlinux` is the kernel itself."""
    try:
        return sorted(os.listdir(_BTF))
    except FileNotFoundError:
        return []


def kernel_btf(name: str) -> Iterator[bytes]:
    """Raw BTF of the kernel or of a module, in pieces.

    Raises NotSupported when the kernel has no BTF, NotFound for a module without.
    """
    known = modules_with_btf()
    if not known:
        raise NotSupported(
            "BTF", "5.4", "a kernel with CONFIG_DEBUG_INFO_BTF, or BTF given by the client"
        )
    if name not in known:
        raise NotFound("BTF", name, [each for each in known if name in each][:5])
    return _pieces(f"{_BTF}/{name}")


def btf_by_id(number: int) -> tuple[bytes, str, bool]:
    """Raw BTF by kernel id, its name, and whether its base is the kernel's.

    Raises NotFound or PermissionMissing.
    """
    try:
        fd = syscall.fd_by_id(Cmd.BTF_GET_FD_BY_ID, number)
    except FileNotFoundError:
        raise NotFound("BTF", str(number)) from None
    except PermissionError:
        raise PermissionMissing("CAP_SYS_ADMIN", action="reading BTF by id") from None
    try:
        data, name, of_kernel = info.btf_data(fd)
    finally:
        os.close(fd)
    return data, name, of_kernel and name != "vmlinux"


def _pieces(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb", buffering=0) as file:
            while data := read_fully(file.fileno(), CHUNK):
                yield data
    except OSError as error:
        raise KernelError(f"reading {path}", error.errno or 0) from None


def kallsyms(module: str = "") -> Iterator[bytes]:
    """Whole lines of /proc/kallsyms, in pieces: all, of a module, `vmlinux` or `MODULES`."""
    rest = b""
    for data in _pieces(_KALLSYMS):
        lines, rest = _whole_lines(rest + data)
        if lines := _of_module(lines, module):
            yield lines
    if rest and (lines := _of_module(rest, module)):
        yield lines


def names_of(addresses: Collection[int]) -> dict[int, tuple[str, str]]:
    """(function, module) of each of these addresses that a text symbol begins at.

    Of several with one address the first is taken. Module is empty for the kernel itself.
    """
    width = 2 * ctypes.sizeof(ctypes.c_void_p)
    marks = [f"\n{address:0{width}x} ".encode() for address in addresses]
    found: dict[int, tuple[str, str]] = {}
    for piece in kallsyms():
        for line in lines_with(b"\n" + piece, marks):
            place, kind, name, *module = line.decode(errors="replace").split()
            if kind in "tTwW":
                text = module[0].strip("[]") if module else ""
                found.setdefault(int(place, 16), (name, text))
    return found


def lines_with(data: bytes, marks: Collection[bytes]) -> Iterator[bytes]:
    """Lines that begin with one of the marks, each of which is "\\nWORD ". Pure."""
    if len(marks) > _FEW:
        wanted = {mark[1:-1] for mark in marks}
        yield from (line for line in data.splitlines() if line.partition(b" ")[0] in wanted)
        return
    for mark in marks:
        start = -1
        while (start := data.find(mark, start + 1)) >= 0:
            end = data.find(b"\n", start + 1)
            yield data[start + 1 : end if end >= 0 else None]


_FEW = 64
"""Searching once for each of so many takes less time than looking at every line."""


def _whole_lines(data: bytes) -> tuple[bytes, bytes]:
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]


def _of_module(lines: bytes, module: str) -> bytes:
    if not module:
        return lines
    if module in ("vmlinux", MODULES):
        wanted = module == MODULES
        return b"".join(line for line in lines.splitlines(True) if (b"\t[" in line) is wanted)
    mark = f"\t[{module}]\n".encode()
    return b"".join(line for line in lines.splitlines(True) if line.endswith(mark))


def functions(pattern: str) -> Iterator[tuple[str, str]]:
    """(function, module) where probes can be put; `pattern` is a glob, empty: all.

    From tracefs's available_filter_functions; where the kernel keeps that file closed,
    from the text symbols of /proc/kallsyms, without those that kprobes refuse.
    """
    matches = re.compile(fnmatch.translate(pattern or "*")).match
    try:
        lines: Iterator[str] = _available_functions()
    except (OSError, NotSupported, PermissionMissing, KernelError):
        lines = _text_symbols()
    for line in lines:
        name, _, module = line.partition(" ")
        if matches(name):
            yield name, module.strip("[]")


def _available_functions() -> Iterator[str]:
    file = open(f"{mounts.ensure_tracefs()}/available_filter_functions")  # noqa: SIM115

    def lines() -> Iterator[str]:
        with file:
            for line in file:
                yield line.rstrip("\n")

    return lines()


def _text_symbols() -> Iterator[str]:
    refused = _blacklist()
    for piece in kallsyms():
        for line in piece.decode(errors="replace").splitlines():
            fields = line.split()
            if len(fields) < 3 or fields[1] not in "tTwW" or fields[2] in refused:
                continue
            module = fields[3] if len(fields) > 3 else ""
            if module not in ("[bpf]", "[__builtin__kprobes]", "[__builtin__ftrace]"):
                yield f"{fields[2]} {module}".rstrip()


def _blacklist() -> set[str]:
    debugfs = mounts.find("debugfs")
    try:
        with open(f"{debugfs}/kprobes/blacklist") as file:
            return {line.split("\t")[-1].strip() for line in file}
    except OSError:
        return set()
