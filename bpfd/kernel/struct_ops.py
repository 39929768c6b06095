# SPDX-License-Identifier: Apache-2.0
"""Maps of struct_ops: a table of functions of the kernel, each a BPF program.

libbpf lays the kernel's struct out, by BTF, and writes it into the map only when it
registers the map. Here it writes it into an array map that stands in, so that what it laid
out can be read and the map be registered when somebody asks for it. With BPF_F_LINK (kernel
6.4, 68b04864ca42) the map is filled at once, and links register it; without, filling the map
registers it, which can be done once.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
import threading
from dataclasses import dataclass, field

from bpfd.errors import KernelError, NotSupported
from bpfd.kernel import syscall
from bpfd.kernel.constants import BPF_F_LINK, ENOTSUPP, MapType, ProgType
from bpfd.kernel.info import map_info
from bpfd.kernel.libbpf import library, vmlinux_members

KEY = bytes(4)
_IN_USE, _READY = 1, 3  # enum bpf_struct_ops_state
_WORD = ctypes.sizeof(ctypes.c_ulong)


@dataclass
class Part:
    """What a load has made of one struct_ops map, for those who register it later."""

    map_id: int
    map_name: str
    program_ids: frozenset[int]
    """Every struct_ops program of the object."""
    value: bytes = b""
    """What registers the map when it is written; empty: it is filled, a link registers it."""
    fds: list[int] = field(default_factory=list)
    """Programs that the value names."""

    def close(self) -> None:
        """The object goes."""
        with _lock:
            _parts.pop(self.map_id, None)
        while self.fds:
            os.close(self.fds.pop())


@dataclass(frozen=True)
class Table:
    """What the kernel tells of a struct_ops map, whoever made it."""

    in_use: bool
    """Registered by the writing of its value."""
    ready: bool
    """Filled; links register it."""
    programs: list[tuple[str, int]]
    """(member, program id) of its functions; none where the kernel has no BTF."""


def table(fd: int) -> Table:
    """The struct_ops map behind an fd. Raises OSError."""
    info = map_info(fd)
    value = syscall.map_lookup_elem(fd, KEY, info.value_size)
    # struct bpf_struct_ops_common_value { refcount_t refcnt; enum bpf_struct_ops_state; }
    state = int.from_bytes(value[4:8], sys.byteorder)
    programs = functions_of(value, _function_places(info.btf_vmlinux_value_type_id))
    return Table(state == _IN_USE, state == _READY, programs)


def functions_of(value: bytes, places: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """(member, program id) of the functions that a value names; `places` are (member, bytes
    from the value's start). Pure.

    The kernel writes the id of a program where the struct has a pointer to a function.
    """
    words = (
        (name, int.from_bytes(value[at : at + _WORD], sys.byteorder)) for name, at in places
    )
    return [(name, number) for name, number in words if number]


def _function_places(type_id: int) -> list[tuple[str, int]]:
    data = next((each for each in vmlinux_members(type_id) if each.name == "data"), None)
    if data is None:
        return []
    return [
        (member.name, data.offset + member.offset)
        for member in vmlinux_members(data.type_id)
        if member.is_function
    ]


_lock = threading.Lock()
_parts: dict[int, Part] = {}


def part(map_id: int) -> Part | None:
    """What is known of a map that this process loaded."""
    with _lock:
        return _parts.get(map_id)


def successor(program_id: int, map_name: str) -> int:
    """The map of this name of the object with this program; 0: none that was loaded here."""
    with _lock:
        for each in _parts.values():
            if program_id in each.program_ids and each.map_name == map_name:
                return each.map_id
    return 0


@functools.cache
def has_links() -> bool:
    """Whether the kernel knows BPF_F_LINK: then it gets as far as to miss the type."""
    try:
        os.close(
            syscall.map_create(
                *(MapType.STRUCT_OPS, 4, 128, 1),
                flags=BPF_F_LINK,
                btf_vmlinux_value_type_id=1,
            )
        )
    except OSError as error:
        return error.errno == ENOTSUPP
    return True


def prepare(item: ctypes.c_void_p) -> None:
    """Before the load: a struct_ops map for links where the kernel has them, and only there."""
    lib = library()
    flags = lib.bpf_map__map_flags(item) & ~BPF_F_LINK
    lib.bpf_map__set_map_flags(item, flags | (BPF_F_LINK if has_links() else 0))


def take(item: ctypes.c_void_p, fd: int, programs: list[ctypes.c_void_p]) -> Part:
    """After the load, while libbpf's object is open: fills the map, or notes how to.

    `item` and `programs` are libbpf's. Raises KernelError, NotSupported.
    """
    lib = library()
    info = map_info(fd)
    ours = [each for each in programs if lib.bpf_program__type(each) == ProgType.STRUCT_OPS]
    value = _laid_out(item, fd, info.value_size)
    fds = {lib.bpf_program__fd(each): each for each in ours}
    name = info.name.decode(errors="replace")
    found = Part(info.id, name, frozenset(_ids(list(fds))))
    if info.map_flags & BPF_F_LINK:
        try:
            syscall.map_update_elem(fd, KEY, value)
        except OSError as error:
            raise refused(error, f"filling struct_ops map {name}") from None
    else:
        found.value = _with_own_programs(value, info.btf_vmlinux_value_type_id, fds, found.fds)
    with _lock:
        _parts[info.id] = found
    return found


def refused(error: OSError, operation: str) -> KernelError | NotSupported:
    """The error for a map that the kernel does not take."""
    if error.errno == ENOTSUPP:
        return NotSupported(
            "struct_ops", "5.6 on x86-64, 6.0 on arm64", "trampolines of this architecture"
        )
    hint = "the kernel checks the struct: is a function missing that it needs, or a name?"
    return KernelError(operation, error.errno or 0, hint if error.errno == 22 else "")


def _ids(fds: list[int]) -> list[int]:
    from bpfd.kernel.info import prog_info

    return [prog_info(fd).id for fd in fds if fd >= 0]


def _laid_out(item: ctypes.c_void_p, fd: int, size: int) -> bytes:
    """What libbpf writes to register the map, which goes into another map meanwhile.

    The number `fd` is libbpf's own, and nobody else's in this process.
    """
    lib = library()
    stand_in = syscall.map_create(MapType.ARRAY, 4, size, 1, name="bpfd_stand_in")
    kept = os.dup(fd)
    try:
        os.dup2(stand_in, fd, inheritable=False)
        try:
            link = lib.bpf_map__attach_struct_ops(item)  # with a link: fails behind the write
        finally:
            os.dup2(kept, fd, inheritable=False)
        if link:
            lib.bpf_link__disconnect(link)
            lib.bpf_link__destroy(link)
        return syscall.map_lookup_elem(stand_in, KEY, size)
    except OSError as error:
        raise KernelError("laying out a struct_ops", error.errno or errno.EINVAL) from None
    finally:
        os.close(kept)
        os.close(stand_in)


def _with_own_programs(
    value: bytes, type_id: int, fds: dict[int, ctypes.c_void_p], own: list[int]
) -> bytes:
    """The value with duplicates of the programs, which live on; they are put into `own`."""
    lib = library()
    written = bytearray(value)
    data = next((each for each in vmlinux_members(type_id) if each.name == "data"), None)
    if data is None:
        raise NotSupported("struct_ops of this kernel", needs="BTF of the kernel")
    members = vmlinux_members(data.type_id)
    for fd, item in fds.items():
        index = lib.bpf_program__expected_attach_type(item)
        if index >= len(members):
            continue
        at = data.offset + members[index].offset
        if int.from_bytes(value[at : at + _WORD], sys.byteorder) == fd:
            own.append(os.dup(fd))
            written[at : at + _WORD] = own[-1].to_bytes(_WORD, sys.byteorder)
    return bytes(written)
