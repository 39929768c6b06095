# SPDX-License-Identifier: Apache-2.0
"""libbpf, the functions that are used, with their argument types.

libbpf opens, relocates (CO-RE) and loads ELF objects. It has been stable since 1.0; what
is declared here exists in 1.0 and later.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from ctypes import POINTER, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass

from bpfd.errors import NotSupported


class ObjectOpenOpts(ctypes.Structure):
    """struct bpf_object_open_opts."""

    _fields_ = (
        ("sz", c_size_t),
        ("object_name", c_char_p),
        ("relaxed_maps", c_bool),
        ("pin_root_path", c_char_p),
        ("_attach_prog_fd", c_uint32),
        ("kconfig", c_char_p),
        ("btf_custom_path", c_char_p),
        ("kernel_log_buf", c_void_p),
        ("kernel_log_size", c_size_t),
        ("kernel_log_level", c_uint32),
    )


class TcHook(ctypes.Structure):
    """struct bpf_tc_hook."""

    _fields_ = (
        ("sz", c_size_t),
        ("ifindex", c_int),
        ("attach_point", c_uint32),
        ("parent", c_uint32),
    )


class TcOpts(ctypes.Structure):
    """struct bpf_tc_opts."""

    _fields_ = (
        ("sz", c_size_t),
        ("prog_fd", c_int),
        ("flags", c_uint32),
        ("prog_id", c_uint32),
        ("handle", c_uint32),
        ("priority", c_uint32),
    )


class XdpQueryOpts(ctypes.Structure):
    """struct bpf_xdp_query_opts as of libbpf 1.0."""

    _fields_ = (
        ("sz", c_size_t),
        ("prog_id", c_uint32),
        ("drv_prog_id", c_uint32),
        ("hw_prog_id", c_uint32),
        ("skb_prog_id", c_uint32),
        ("attach_mode", ctypes.c_uint8),
    )


_FUNCTION = 12  # BTF_KIND_FUNC

_OBJECT = _PROGRAM = _MAP = _BTF = c_void_p

_FUNCTIONS: dict[str, tuple[object, tuple[object, ...]]] = {
    "libbpf_version_string": (c_char_p, ()),
    "bpf_object__open_mem": (_OBJECT, (c_char_p, c_size_t, POINTER(ObjectOpenOpts))),
    "bpf_object__load": (c_int, (_OBJECT,)),
    "bpf_object__close": (None, (_OBJECT,)),
    "bpf_object__next_program": (_PROGRAM, (_OBJECT, _PROGRAM)),
    "bpf_object__next_map": (_MAP, (_OBJECT, _MAP)),
    "bpf_program__name": (c_char_p, (_PROGRAM,)),
    "bpf_program__section_name": (c_char_p, (_PROGRAM,)),
    "bpf_program__fd": (c_int, (_PROGRAM,)),
    "bpf_program__type": (c_int, (_PROGRAM,)),
    "bpf_program__set_type": (c_int, (_PROGRAM, c_int)),
    "bpf_program__expected_attach_type": (c_int, (_PROGRAM,)),
    "bpf_program__set_expected_attach_type": (c_int, (_PROGRAM, c_int)),
    "bpf_program__autoload": (c_bool, (_PROGRAM,)),
    "bpf_program__set_autoload": (c_int, (_PROGRAM, c_bool)),
    "bpf_program__flags": (c_uint32, (_PROGRAM,)),
    "bpf_program__set_flags": (c_int, (_PROGRAM, c_uint32)),
    "bpf_program__set_ifindex": (None, (_PROGRAM, c_uint32)),
    "bpf_program__set_attach_target": (c_int, (_PROGRAM, c_int, c_char_p)),
    "bpf_program__insns": (c_void_p, (_PROGRAM,)),
    "bpf_program__insn_cnt": (c_size_t, (_PROGRAM,)),
    "libbpf_register_prog_handler": (c_int, (c_char_p, c_int, c_int, c_void_p)),
    "bpf_program__set_log_level": (c_int, (_PROGRAM, c_uint32)),
    "bpf_program__set_log_buf": (c_int, (_PROGRAM, c_void_p, c_size_t)),
    "bpf_map__name": (c_char_p, (_MAP,)),
    "bpf_map__fd": (c_int, (_MAP,)),
    "bpf_map__type": (c_int, (_MAP,)),
    "bpf_map__is_internal": (c_bool, (_MAP,)),
    "bpf_map__key_size": (c_uint32, (_MAP,)),
    "bpf_map__value_size": (c_uint32, (_MAP,)),
    "bpf_map__max_entries": (c_uint32, (_MAP,)),
    "bpf_map__map_flags": (c_uint32, (_MAP,)),
    "bpf_map__map_extra": (c_uint64, (_MAP,)),
    "bpf_map__set_map_extra": (c_int, (_MAP, c_uint64)),
    "bpf_map__autocreate": (c_bool, (_MAP,)),
    "bpf_map__inner_map": (c_void_p, (_MAP,)),
    "bpf_map__set_max_entries": (c_int, (_MAP, c_uint32)),
    "bpf_map__set_map_flags": (c_int, (_MAP, c_uint32)),
    "bpf_map__set_value_size": (c_int, (_MAP, c_uint32)),
    "bpf_map__set_numa_node": (c_int, (_MAP, c_uint32)),
    "bpf_map__reuse_fd": (c_int, (_MAP, c_int)),
    "bpf_map__pin_path": (c_char_p, (_MAP,)),
    "bpf_map__set_pin_path": (c_int, (_MAP, c_char_p)),
    "bpf_map__initial_value": (c_void_p, (_MAP, POINTER(c_size_t))),
    "bpf_map__set_initial_value": (c_int, (_MAP, c_void_p, c_size_t)),
    "bpf_map__attach_struct_ops": (c_void_p, (_MAP,)),
    "bpf_link__disconnect": (None, (c_void_p,)),
    "bpf_link__destroy": (c_int, (c_void_p,)),
    "btf__load_from_kernel_by_id": (_BTF, (c_uint32,)),
    "btf__load_from_kernel_by_id_split": (_BTF, (c_uint32, _BTF)),
    "btf__load_vmlinux_btf": (_BTF, ()),
    "btf__free": (None, (_BTF,)),
    "btf__type_by_id": (POINTER(c_uint32 * 3), (_BTF, c_uint32)),
    "btf__name_by_offset": (c_char_p, (_BTF, c_uint32)),
    "btf__find_by_name_kind": (c_int, (_BTF, c_char_p, c_uint32)),
    "bpf_tc_hook_create": (c_int, (POINTER(TcHook),)),
    "bpf_tc_hook_destroy": (c_int, (POINTER(TcHook),)),
    "bpf_tc_attach": (c_int, (POINTER(TcHook), POINTER(TcOpts))),
    "bpf_tc_detach": (c_int, (POINTER(TcHook), POINTER(TcOpts))),
    "bpf_tc_query": (c_int, (POINTER(TcHook), POINTER(TcOpts))),
    "bpf_xdp_query": (c_int, (c_int, c_int, POINTER(XdpQueryOpts))),
    "libbpf_set_print": (c_void_p, (c_void_p,)),
}

_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_messages = threading.local()


def _collect(level: int, template: bytes, arguments: int | None) -> int:
    """libbpf's print callback: keeps warnings for the thread that made the call."""
    lines: list[str] | None = getattr(_messages, "lines", None)
    if lines is None or level > 0:
        return 0
    buffer = ctypes.create_string_buffer(8192)
    _libc().vsnprintf(buffer, len(buffer), template, arguments)
    lines.append(buffer.value.decode(errors="replace").rstrip("\n"))
    return 0


_callback = _PRINT(_collect)

_POINTER, _FUNCTION_TYPE = 2, 13
_MODIFIERS = (8, 9, 10, 11)  # typedef, volatile, const, restrict
"""enum BTF_KIND_*."""


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    # va_list is a pointer, or passed as one, in the calling conventions of all targets.
    libc.vsnprintf.argtypes = (c_char_p, c_size_t, c_char_p, c_void_p)
    return libc


@functools.cache
def library() -> ctypes.CDLL:
    """libbpf, loaded once. Raises NotSupported when there is none or an old one."""
    try:
        lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise NotSupported(
            "loading objects", needs=f"install libbpf 1.0 or later ({error})"
        ) from None
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(lib, name)
        function.restype = result
        function.argtypes = arguments
    lib.libbpf_set_print(ctypes.cast(_callback, c_void_p))
    return lib


class Messages:
    """Collects libbpf's warnings of this thread: `with Messages() as lines: ...`."""

    def __enter__(self) -> list[str]:
        self.lines: list[str] = []
        _messages.lines = self.lines
        return self.lines

    def __exit__(self, *_: object) -> None:
        _messages.lines = None


def function_name(btf_id: int, type_id: int) -> str:
    """Name of a function type in a loaded BTF object; "" when it cannot be found."""
    return function_names(btf_id, (type_id,)).get(type_id, "")


def function_names(btf_id: int, type_ids: Iterable[int]) -> dict[int, str]:
    """Names of function types in a loaded BTF object, of those that can be found."""
    lib = library()
    wanted = set(type_ids) if btf_id else set()
    found: dict[int, str] = {}
    with ExitStack() as undo:
        # A module's types have numbers behind those of the kernel, which it goes on from.
        for of_module in (False, True):
            if not wanted - found.keys():
                break
            base = lib.btf__load_vmlinux_btf() if of_module else None
            if base:
                undo.callback(lib.btf__free, base)
            btf = lib.btf__load_from_kernel_by_id_split(c_uint32(btf_id), base)
            if btf:
                undo.callback(lib.btf__free, btf)
                found |= _names(btf, wanted - found.keys())
    return found


def _names(btf: int, type_ids: Iterable[int]) -> dict[int, str]:
    lib = library()
    found = {}
    for type_id in type_ids:
        if record := lib.btf__type_by_id(btf, c_uint32(type_id)):
            name = lib.btf__name_by_offset(btf, c_uint32(record.contents[0]))
            found[type_id] = (name or b"").decode(errors="replace")
    return found


def function_type_id(btf_id: int, name: str) -> int:
    """Id of a function's type in a loaded BTF object; 0: it has none of that name."""
    lib = library()
    btf = lib.btf__load_from_kernel_by_id(c_uint32(btf_id))
    if not btf:
        return 0
    try:
        return max(0, int(lib.btf__find_by_name_kind(btf, name.encode(), c_uint32(_FUNCTION))))
    finally:
        lib.btf__free(btf)


def vmlinux_type_id(name: str, kind: int) -> int:
    """Id of a named type in the running kernel's BTF; 0: none.

    Kind 12 is a function, 8 a typedef.
    """
    lib = library()
    btf = lib.btf__load_vmlinux_btf()
    if not btf:
        return 0
    try:
        return max(0, int(lib.btf__find_by_name_kind(btf, name.encode(), c_uint32(kind))))
    finally:
        lib.btf__free(btf)


@dataclass(frozen=True)
class Member:
    """A member of a struct."""

    name: str
    type_id: int
    offset: int
    """Bytes from the start of the struct."""
    is_function: bool = False
    """Whether it is a pointer to a function."""


@functools.lru_cache(maxsize=256)
def vmlinux_members(type_id: int) -> list[Member]:
    """Members of a struct of the running kernel's BTF, in order; none when it is none."""
    lib = library()
    btf = lib.btf__load_vmlinux_btf()
    if not btf:
        return []
    try:
        record = lib.btf__type_by_id(btf, c_uint32(type_id))
        if not record:
            return []
        _, info, _ = record.contents
        count, bits = info & 0xFFFF, 0xFFFFFF if info >> 31 else 0xFFFFFFFF
        # struct btf_member { __u32 name_off, type, offset; } behind struct btf_type
        array = ctypes.cast(record, POINTER(c_uint32))
        words = array[3 : 3 + 3 * count]
        return [
            Member(
                (lib.btf__name_by_offset(btf, c_uint32(words[at])) or b"").decode(),
                words[at + 1],
                (words[at + 2] & bits) // 8,
                _is_function_pointer(lib, btf, words[at + 1]),
            )
            for at in range(0, len(words), 3)
        ]
    finally:
        lib.btf__free(btf)


def _is_function_pointer(lib: ctypes.CDLL, btf: c_void_p, type_id: int) -> bool:
    wanted = [_POINTER, _FUNCTION_TYPE]
    while record := lib.btf__type_by_id(btf, c_uint32(type_id)):
        _, info, type_id = record.contents
        kind = info >> 24 & 0x1F
        if kind == wanted[0]:
            wanted.pop(0)
            if not wanted:
                return True
        elif kind not in _MODIFIERS:
            return False
    return False


def links_struct_ops() -> bool:
    """Whether this libbpf knows the section .struct_ops.link (1.2, as bpf_link__update_map)."""
    return hasattr(library(), "bpf_link__update_map")


def version() -> str:
    """libbpf's version: "1.1.2" (as far as it says)."""
    text: bytes = library().libbpf_version_string()
    return text.decode().removeprefix("v")


__all__ = [
    "Member",
    "Messages",
    "ObjectOpenOpts",
    "TcHook",
    "TcOpts",
    "XdpQueryOpts",
    "function_name",
    "function_names",
    "function_type_id",
    "library",
    "links_struct_ops",
    "version",
    "vmlinux_members",
    "vmlinux_type_id",
]
