# SPDX-License-Identifier: Apache-2.0
"""Code and line information of a loaded program (the arrays of struct bpf_prog_info)."""

from __future__ import annotations

import ctypes
import dataclasses
from ctypes import c_uint32, c_uint64
from typing import Any

from bpfd.kernel.info import ProgInfo, prog_info
from bpfd.kernel.syscall import obj_info


@dataclasses.dataclass(frozen=True)
class ProgramDump:
    """What the kernel tells of a program's code to this process."""

    code: bytes
    """Empty: see `code_bytes`."""
    code_bytes: int
    """Bytes that the code has; 0: there is none, or no right to know."""
    translated_bytes: int
    """Bytes of translated code; 0: no right to know."""
    addresses_hidden: bool
    """No addresses and no machine code: kernel.kptr_restrict, or no CAP_SYSLOG."""
    function_addresses: list[int]
    """Of every function, the main one first; empty where hidden."""
    function_sizes: list[int]
    """Bytes of machine code of every function; empty where hidden."""
    func_info: bytes
    func_info_record_size: int
    line_info: bytes
    line_info_record_size: int
    jited_line_addresses: list[int]
    """One for each record of `line_info`; empty: not jited, or hidden."""
    btf_id: int


def dump(fd: int, *, jited: bool) -> ProgramDump:
    """Reads a program's code, one call for the sizes and one for the contents.

    What the kernel hides (bpf_prog_get_info_by_fd in kernel/bpf/syscall.c): everything
    without CAP_BPF; addresses and machine code, and translated code whose constants are
    blinded, without a right to see kernel addresses. It then sets the pointer to 0.
    """
    sizes = prog_info(fd)
    info = ProgInfo()
    code = _array(info, "jited_prog" if jited else "xlated_prog", sizes)
    functions = (c_uint64 * max(sizes.nr_jited_ksyms, 1))()
    lengths = (c_uint32 * max(sizes.nr_jited_func_lens, 1))()
    lines = (c_uint64 * max(sizes.nr_jited_line_info, 1))()
    info.nr_jited_ksyms, info.jited_ksyms = sizes.nr_jited_ksyms, ctypes.addressof(functions)
    info.nr_jited_func_lens = sizes.nr_jited_func_lens
    info.jited_func_lens = ctypes.addressof(lengths)
    info.nr_jited_line_info = sizes.nr_jited_line_info
    info.jited_line_info = ctypes.addressof(lines)
    info.jited_line_info_rec_size = ctypes.sizeof(c_uint64)
    func_records = _records(info, "func_info", sizes)
    line_records = _records(info, "line_info", sizes)
    obj_info(fd, info)
    shown = bool(info.jited_prog_insns if jited else info.xlated_prog_insns)
    length = info.jited_prog_len if jited else info.xlated_prog_len
    return ProgramDump(
        code=code.raw[: min(length, len(code))] if shown and length else b"",
        code_bytes=length,
        translated_bytes=info.xlated_prog_len,
        addresses_hidden=not info.jited_ksyms,
        function_addresses=list(functions[: info.nr_jited_ksyms]) if info.jited_ksyms else [],
        function_sizes=(
            list(lengths[: info.nr_jited_func_lens]) if info.jited_func_lens else []
        ),
        func_info=func_records.raw[: info.nr_func_info * info.func_info_rec_size],
        func_info_record_size=info.func_info_rec_size,
        line_info=line_records.raw[: info.nr_line_info * info.line_info_rec_size],
        line_info_record_size=info.line_info_rec_size,
        jited_line_addresses=(
            list(lines[: info.nr_jited_line_info]) if info.jited_line_info else []
        ),
        btf_id=info.btf_id,
    )


def _array(info: ProgInfo, name: str, sizes: ProgInfo) -> ctypes.Array[Any]:
    """Room for code; `info` gets its place and length."""
    length = getattr(sizes, f"{name}_len")
    room = ctypes.create_string_buffer(max(length, 1))
    setattr(info, f"{name}_len", length)
    setattr(info, f"{name}_insns", ctypes.addressof(room))
    return room


def _records(info: ProgInfo, name: str, sizes: ProgInfo) -> ctypes.Array[Any]:
    """Room for func_info or line_info; `info` gets its place, count and record size."""
    count, size = getattr(sizes, f"nr_{name}"), getattr(sizes, f"{name}_rec_size")
    room = ctypes.create_string_buffer(max(count * size, 1))
    setattr(info, f"nr_{name}", count)
    setattr(info, f"{name}_rec_size", size)
    setattr(info, name, ctypes.addressof(room))
    return room


def func_info(fd: int, sizes: ProgInfo) -> bytes:
    """struct bpf_func_info records of a program, the main function's first."""
    info = ProgInfo()
    records = _records(info, "func_info", sizes)
    obj_info(fd, info)
    return records.raw[: info.nr_func_info * info.func_info_rec_size]
