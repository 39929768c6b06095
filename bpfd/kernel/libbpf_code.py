# SPDX-License-Identifier: Apache-2.0
"""The code of XDP programs at the moment when libbpf gives it to the kernel.

libbpf hides func_info and line_info, but it hands them to whoever registers as handler of a
section (libbpf_register_prog_handler, 0.8).
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_int, c_long, c_size_t, c_uint32, c_void_p

from bpfd.kernel import program_code
from bpfd.kernel.constants import BPF_F_XDP_HAS_FRAGS, AttachType, ProgType
from bpfd.kernel.libbpf import library

_SECTIONS = {b"xdp": 0, b"xdp.frags": BPF_F_XDP_HAS_FRAGS}
"""With the flags that libbpf's own handlers set."""


class ProgLoadOpts(ctypes.Structure):
    """struct bpf_prog_load_opts of libbpf 1.0; later ones are longer."""

    _fields_ = (
        ("sz", c_size_t),
        ("attempts", c_int),
        ("expected_attach_type", c_int),
        ("prog_btf_fd", c_uint32),
        ("prog_flags", c_uint32),
        ("prog_ifindex", c_uint32),
        ("kern_version", c_uint32),
        ("attach_btf_id", c_uint32),
        ("attach_prog_fd", c_uint32),
        ("attach_btf_obj_fd", c_uint32),
        ("fd_array", c_void_p),
        ("func_info", c_void_p),
        ("func_info_cnt", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("line_info", c_void_p),
        ("line_info_cnt", c_uint32),
        ("line_info_rec_size", c_uint32),
    )


class _HandlerOpts(ctypes.Structure):
    """struct libbpf_prog_handler_opts."""

    _fields_ = (
        ("sz", c_size_t),
        ("cookie", c_long),
        ("prog_setup_fn", c_void_p),
        ("prog_prepare_load_fn", c_void_p),
        ("prog_attach_fn", c_void_p),
    )


_taking = threading.local()


def _prepare(program: int, options: ctypes.Array[ProgLoadOpts], flags: int) -> int:
    """libbpf's callback before BPF_PROG_LOAD; `flags` is the cookie of the section."""
    given = options[0]
    given.prog_flags |= flags
    found: dict[bytes, program_code.Code] | None = getattr(_taking, "found", None)
    if found is not None:
        pointer = c_void_p(program)
        try:
            found[library().bpf_program__name(pointer)] = program_code.taken(
                instructions(pointer),
                _bytes(given.func_info, given.func_info_cnt * given.func_info_rec_size),
                given.func_info_rec_size,
                _bytes(given.line_info, given.line_info_cnt * given.line_info_rec_size),
                given.line_info_rec_size,
                flags=given.prog_flags,
                ifindex=given.prog_ifindex,
            )
        except OSError:
            return 0  # it loads all the same, and is in no chain
    return 0


_callback = ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(ProgLoadOpts), c_long)(_prepare)


def instructions(program: c_void_p) -> bytes:
    """Instructions of libbpf's program, relocated once its object was loaded."""
    lib = library()
    return _bytes(lib.bpf_program__insns(program), lib.bpf_program__insn_cnt(program) * 8)


def _bytes(address: int | None, size: int) -> bytes:
    return ctypes.string_at(address, size) if address and size else b""


@functools.cache
def register() -> None:
    """From now on objects are opened with these handlers."""
    for section, flags in _SECTIONS.items():
        options = _HandlerOpts(
            sz=ctypes.sizeof(_HandlerOpts),
            cookie=flags,
            prog_prepare_load_fn=ctypes.cast(_callback, c_void_p),
        )
        library().libbpf_register_prog_handler(
            section, ProgType.XDP, AttachType.XDP, ctypes.byref(options)
        )


@contextmanager
def taken() -> Iterator[dict[bytes, program_code.Code]]:
    """The code of every XDP program that this thread loads meanwhile, by its name."""
    found: dict[bytes, program_code.Code] = {}
    _taking.found = found
    try:
        yield found
    finally:
        _taking.found = None
