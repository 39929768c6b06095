# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of a program, map, link or BTF object (BPF_OBJ_GET_INFO_BY_FD).

Structures follow include/uapi/linux/bpf.h; fields that a kernel does not know stay 0.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import c_char, c_int32, c_uint8, c_uint32, c_uint64
from dataclasses import dataclass

from bpfd.kernel.constants import LinkType
from bpfd.kernel.syscall import obj_info


class ProgInfo(ctypes.Structure):
    """struct bpf_prog_info."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", c_uint8 * 8),
        ("jited_prog_len", c_uint32),
        ("xlated_prog_len", c_uint32),
        ("jited_prog_insns", c_uint64),
        ("xlated_prog_insns", c_uint64),
        ("load_time", c_uint64),
        ("created_by_uid", c_uint32),
        ("nr_map_ids", c_uint32),
        ("map_ids", c_uint64),
        ("name", c_char * 16),
        ("ifindex", c_uint32),
        ("gpl_compatible", c_uint32),
        ("netns_dev", c_uint64),
        ("netns_ino", c_uint64),
        ("nr_jited_ksyms", c_uint32),
        ("nr_jited_func_lens", c_uint32),
        ("jited_ksyms", c_uint64),
        ("jited_func_lens", c_uint64),
        ("btf_id", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("func_info", c_uint64),
        ("nr_func_info", c_uint32),
        ("nr_line_info", c_uint32),
        ("line_info", c_uint64),
        ("jited_line_info", c_uint64),
        ("nr_jited_line_info", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("jited_line_info_rec_size", c_uint32),
        ("nr_prog_tags", c_uint32),
        ("prog_tags", c_uint64),
        ("run_time_ns", c_uint64),
        ("run_cnt", c_uint64),
        ("recursion_misses", c_uint64),
        ("verified_insns", c_uint32),
        ("attach_btf_obj_id", c_uint32),
        ("attach_btf_id", c_uint32),
        ("_pad", c_uint32),
    )


class MapInfo(ctypes.Structure):
    """struct bpf_map_info."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
        ("name", c_char * 16),
        ("ifindex", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("netns_dev", c_uint64),
        ("netns_ino", c_uint64),
        ("btf_id", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_id", c_uint32),
        ("map_extra", c_uint64),
    )


class _BtfInfo(ctypes.Structure):
    _fields_ = (
        ("btf", c_uint64),
        ("btf_size", c_uint32),
        ("id", c_uint32),
        ("name", c_uint64),
        ("name_len", c_uint32),
        ("kernel_btf", c_uint32),
    )


class _LinkInfo(ctypes.Structure):
    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("prog_id", c_uint32),
        ("_pad", c_uint32),
        ("words", c_uint64 * 8),
    )


@dataclass(frozen=True)
class LinkInfo:
    """struct bpf_link_info, flattened: what a kind of link does not have is 0 or empty."""

    type: int
    id: int
    prog_id: int
    attach_type: int | None = None
    ifindex: int = 0
    cgroup_id: int = 0
    netns_inode: int = 0
    map_id: int = 0
    target_name: str = ""
    offset: int = 0
    address: int = 0
    cookie: int = 0
    target_btf_id: int = 0
    target_obj_id: int = 0
    perf_type: int = 0
    """enum bpf_perf_event_type: 1 uprobe, 2 uretprobe, 3 kprobe, 4 kretprobe,
    5 tracepoint, 6 event; 0: not said (kernel before 6.6)."""
    event_type: int = 0
    event_config: int = 0
    protocol_family: int = 0
    hook: int = 0
    priority: int = 0
    flags: int = 0
    pid: int = 0
    tid: int = 0
    cgroup_order: int = 0
    missed: int = 0
    """Runs that were left out because the program was running (kprobes, kernel 6.7)."""


def prog_info(fd: int) -> ProgInfo:
    """The program behind an fd, without its arrays."""
    info = ProgInfo()
    obj_info(fd, info)
    return info


def prog_map_ids(fd: int, info: ProgInfo) -> list[int]:
    """Ids of the maps that a program uses."""
    if not info.nr_map_ids:
        return []
    array = (c_uint32 * info.nr_map_ids)()
    request = ProgInfo(nr_map_ids=info.nr_map_ids, map_ids=ctypes.addressof(array))
    obj_info(fd, request)
    return list(array[: request.nr_map_ids])


def map_info(fd: int) -> MapInfo:
    """The map behind an fd."""
    info = MapInfo()
    obj_info(fd, info)
    return info


def btf_data(fd: int) -> tuple[bytes, str, bool]:
    """Raw BTF behind an fd, its name ("" for programs' BTF) and whether it is a kernel's."""
    name = ctypes.create_string_buffer(64)
    size = _BtfInfo(name=ctypes.addressof(name), name_len=len(name))
    obj_info(fd, size)
    data = ctypes.create_string_buffer(max(size.btf_size, 1))
    info = _BtfInfo(btf=ctypes.addressof(data), btf_size=size.btf_size)
    obj_info(fd, info)
    return data.raw[: info.btf_size], name.value.decode(), bool(size.kernel_btf)


def fdinfo(fd: int) -> dict[str, str]:
    """/proc/self/fdinfo of an fd: `memlock`, `frozen` and others that bpf_*_info lacks."""
    with open(f"/proc/self/fdinfo/{fd}") as file:
        pairs = (line.split(":", 1) for line in file if ":" in line)
        return {key.strip(): value.strip() for key, value in pairs}


def link_info(fd: int) -> LinkInfo:
    """The link behind an fd, with the name of its target."""
    text = ctypes.create_string_buffer(4096)
    raw = _LinkInfo()
    obj_info(fd, raw)
    kind = raw.type
    name_word = {LinkType.RAW_TRACEPOINT: 0, LinkType.ITER: 0, LinkType.UPROBE_MULTI: 0}.get(
        kind
    )
    if kind == LinkType.PERF_EVENT:
        name_word = 1 if raw.words[0] & 0xFFFFFFFF in (1, 2, 3, 4, 5) else None
    if name_word is not None:
        request = _LinkInfo()
        request.words[name_word] = ctypes.addressof(text)
        length_word = 4 if kind == LinkType.UPROBE_MULTI else name_word + 1
        request.words[length_word] = len(text)
        try:
            obj_info(fd, request)
            raw = request
        except OSError:
            text.value = b""
    return _flatten(raw, os.fsdecode(text.value))


def uprobe_multi_places(fd: int) -> tuple[list[int], list[int], list[int]]:
    """(offsets, semaphores, cookies) of a uprobe multi link, one of each for each place."""
    raw = _LinkInfo()
    obj_info(fd, raw)
    count = _high(_native_words(raw)[4])
    arrays = [(c_uint64 * max(count, 1))() for _ in range(3)]
    request = _LinkInfo()
    for index, array in enumerate(arrays, 1):
        request.words[index] = ctypes.addressof(array)
    # struct { __u64 path, offsets, ref_ctr_offsets, cookies; __u32 path_size, count; ... }
    request.words[4] = int.from_bytes(bytes((c_uint32 * 2)(0, count)), sys.byteorder)
    obj_info(fd, request)
    offsets, semaphores, cookies = (list(array[:count]) for array in arrays)
    return offsets, semaphores, cookies


def kprobe_multi_places(fd: int) -> tuple[list[int], list[int]]:
    """(addresses, cookies) of a kprobe multi link, one of each for each function.

    Addresses are 0 where the kernel hides them; cookies are told since kernel 6.9.
    """
    raw = _LinkInfo()
    obj_info(fd, raw)
    count = _low(_native_words(raw)[1])
    if not count:
        return [], []
    addresses, cookies = (c_uint64 * count)(), (c_uint64 * count)()
    request = _LinkInfo()
    # struct { __u64 addrs; __u32 count, flags; __u64 missed, cookies; }
    request.words[0] = ctypes.addressof(addresses)
    request.words[1] = int.from_bytes(bytes((c_uint32 * 2)(count, 0)), sys.byteorder)
    request.words[3] = ctypes.addressof(cookies)
    obj_info(fd, request)
    return list(addresses), list(cookies)


def _low(word: int) -> int:
    return word & 0xFFFFFFFF


def _high(word: int) -> int:
    return word >> 32


def _flatten(raw: _LinkInfo, text: str) -> LinkInfo:
    """The union of struct bpf_link_info by the link's type."""
    words, wide = _native_words(raw), list(raw.words)
    common = (raw.type, raw.id, raw.prog_id)
    match raw.type:
        case LinkType.RAW_TRACEPOINT:
            return LinkInfo(*common, target_name=text, cookie=wide[2])
        case LinkType.TRACING:
            return LinkInfo(
                *common,
                attach_type=_low(words[0]),
                target_obj_id=_high(words[0]),
                target_btf_id=_low(words[1]),
            )
        case LinkType.CGROUP:
            return LinkInfo(*common, cgroup_id=wide[0], attach_type=_low(words[1]))
        case LinkType.ITER:
            return _flatten_iter(common, words, wide, text)
        case LinkType.NETNS:
            return LinkInfo(*common, netns_inode=_low(words[0]), attach_type=_high(words[0]))
        case LinkType.XDP:
            return LinkInfo(*common, ifindex=_low(words[0]))
        case LinkType.STRUCT_OPS:
            return LinkInfo(*common, map_id=_low(words[0]))
        case LinkType.TCX | LinkType.NETKIT:
            return LinkInfo(*common, ifindex=_low(words[0]), attach_type=_high(words[0]))
        case LinkType.SOCKMAP:
            return LinkInfo(*common, map_id=_low(words[0]), attach_type=_high(words[0]))
        case LinkType.NETFILTER:
            return LinkInfo(
                *common,
                protocol_family=_low(words[0]),
                hook=_high(words[0]),
                priority=c_int32(_low(words[1])).value,
                flags=_high(words[1]),
            )
        case LinkType.UPROBE_MULTI:
            return LinkInfo(
                *common, target_name=text, flags=_low(words[5]), pid=_high(words[5])
            )
        case LinkType.KPROBE_MULTI:
            return LinkInfo(*common, flags=_high(words[1]), missed=wide[2])
        case LinkType.PERF_EVENT:
            return _flatten_perf(common, words, wide, text)
        case _:
            return LinkInfo(*common)


def _flatten_iter(
    common: tuple[int, int, int], words: list[int], wide: list[int], text: str
) -> LinkInfo:
    """struct { __u64 name; __u32 name_len; __u32 map_id; cgroup or task; }"""
    if text == "cgroup":
        return LinkInfo(
            *common, target_name=text, cgroup_id=wide[2], cgroup_order=_low(words[3])
        )
    if text.startswith("task"):
        tid, pid = _low(words[2]), _high(words[2])
        return LinkInfo(*common, target_name=text, tid=tid, pid=pid)
    return LinkInfo(*common, target_name=text, map_id=_high(words[1]))


def _flatten_perf(
    common: tuple[int, int, int], words: list[int], wide: list[int], text: str
) -> LinkInfo:
    kind = _low(words[0])
    match kind:
        case 1 | 2:
            return LinkInfo(
                *common,
                perf_type=kind,
                target_name=text,
                offset=_high(words[2]),
                cookie=wide[3],
            )
        case 3 | 4:
            return LinkInfo(
                *common,
                perf_type=kind,
                target_name=text,
                offset=_high(words[2]),
                address=wide[3],
                missed=wide[4],
                cookie=wide[5],
            )
        case 5:
            return LinkInfo(*common, perf_type=kind, target_name=text, cookie=wide[3])
        case 6:
            return LinkInfo(
                *common,
                perf_type=kind,
                event_config=wide[1],
                event_type=_low(words[2]),
                cookie=wide[3],
            )
        case _:
            return LinkInfo(*common)


def _native_words(raw: _LinkInfo) -> list[int]:
    """Words whose low half is the 32-bit field that comes first in memory."""
    data = bytes(raw.words)
    pairs = zip(
        (int.from_bytes(data[i : i + 4], sys.byteorder) for i in range(0, 64, 8)),
        (int.from_bytes(data[i + 4 : i + 8], sys.byteorder) for i in range(0, 64, 8)),
        strict=True,
    )
    return [first | second << 32 for first, second in pairs]
