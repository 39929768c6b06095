# SPDX-License-Identifier: Apache-2.0
"""Code and line information of a loaded program (the arrays of struct bpf_prog_info)."""

from __future__ import annotations

import ctypes
import dataclasses
from ctypes import c_uint32, c_uint64

from bpfd.kernel.info import ProgInfo, prog_info
from bpfd.kernel.syscall import obj_info


@dataclasses.dataclass(frozen=True)
class ProgramDump:
    """Empty code: the kernel hides it from this caller."""

    code: bytes
    function_addresses: list[int]
    function_sizes: list[int]
    func_info: bytes
    func_info_record_size: int
    line_info: bytes
    line_info_record_size: int
    jited_line_addresses: list[int]
    btf_id: int


def dump(fd: int, *, jited: bool) -> ProgramDump:
    """Reads a program's code, one call for the sizes and one for the contents."""
    sizes = prog_info(fd)
    length = sizes.jited_prog_len if jited else sizes.xlated_prog_len
    code = ctypes.create_string_buffer(max(length, 1))
    functions = (c_uint64 * max(sizes.nr_jited_ksyms, 1))()
    lengths = (c_uint32 * max(sizes.nr_jited_func_lens, 1))()
    func_info = ctypes.create_string_buffer(
        max(sizes.nr_func_info * sizes.func_info_rec_size, 1)
    )
    line_info = ctypes.create_string_buffer(
        max(sizes.nr_line_info * sizes.line_info_rec_size, 1)
    )
    jited_lines = (c_uint64 * max(sizes.nr_jited_line_info, 1))()
    info = ProgInfo()
    if jited:
        info.jited_prog_len, info.jited_prog_insns = length, ctypes.addressof(code)
        info.nr_jited_ksyms, info.jited_ksyms = (
            sizes.nr_jited_ksyms,
            ctypes.addressof(functions),
        )
        info.nr_jited_func_lens = sizes.nr_jited_func_lens
        info.jited_func_lens = ctypes.addressof(lengths)
        info.nr_jited_line_info = sizes.nr_jited_line_info
        info.jited_line_info = ctypes.addressof(jited_lines)
        info.jited_line_info_rec_size = 8
    else:
        info.xlated_prog_len, info.xlated_prog_insns = length, ctypes.addressof(code)
    info.nr_func_info, info.func_info = sizes.nr_func_info, ctypes.addressof(func_info)
    info.func_info_rec_size = sizes.func_info_rec_size
    info.nr_line_info, info.line_info = sizes.nr_line_info, ctypes.addressof(line_info)
    info.line_info_rec_size = sizes.line_info_rec_size
    obj_info(fd, info)
    shown = bool(info.jited_prog_insns if jited else info.xlated_prog_insns)
    return ProgramDump(
        code=code.raw[:length] if shown else b"",
        function_addresses=list(functions[: info.nr_jited_ksyms]) if jited else [],
        function_sizes=list(lengths[: info.nr_jited_func_lens]) if jited else [],
        func_info=func_info.raw[: info.nr_func_info * info.func_info_rec_size],
        func_info_record_size=info.func_info_rec_size,
        line_info=line_info.raw[: info.nr_line_info * info.line_info_rec_size],
        line_info_record_size=info.line_info_rec_size,
        jited_line_addresses=list(jited_lines[: info.nr_jited_line_info]) if jited else [],
        btf_id=info.btf_id,
    )


def func_info(fd: int, sizes: ProgInfo) -> bytes:
    """struct bpf_func_info records of a program, the main function's first."""
    records = ctypes.create_string_buffer(max(sizes.nr_func_info * sizes.func_info_rec_size, 1))
    info = ProgInfo(
        nr_func_info=sizes.nr_func_info,
        func_info_rec_size=sizes.func_info_rec_size,
        func_info=ctypes.addressof(records),
    )
    obj_info(fd, info)
    return records.raw[: info.nr_func_info * info.func_info_rec_size]
