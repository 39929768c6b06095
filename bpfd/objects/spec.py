# SPDX-License-Identifier: Apache-2.0
"""Loads an `ObjectSpec`: maps, BTF and programs as instructions, without an ELF file."""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Callable
from contextlib import ExitStack

from bpfd import features
from bpfd.errors import BpfdError, InvalidArgument, NotSupported
from bpfd.kernel import arena, map_memory, program_code, rejection, syscall
from bpfd.kernel.constants import (
    BPF_LD_IMM64,
    BPF_PSEUDO_MAP_FD,
    BPF_PSEUDO_MAP_VALUE,
    AttachType,
    Cmd,
    MapType,
    ProgType,
    name_of,
)
from bpfd.kernel.cpus import value_width
from bpfd.kernel.info import map_info, prog_info
from bpfd.kernel.libbpf import vmlinux_type_id
from bpfd.kernel.load_options import (
    DEFAULT_LOG_BYTES,
    Cancel,
    Cancelled,
    Loaded,
    LoadedMap,
    LoadedProgram,
    LoadOptions,
    MapSetting,
    ProgramLog,
    never,
)
from bpfd.v1 import common_pb2, objects_pb2

MapFd = Callable[[common_pb2.MapRef], int]
"""An fd of a map that is loaded already; stays the callee's."""

ProgramFd = Callable[[common_pb2.ProgramRef], int]
"""An fd of a program that is loaded already; stays the callee's."""

_OF_FILES = frozenset(
    {
        *(MapType.PROG_ARRAY, MapType.PERF_EVENT_ARRAY, MapType.CGROUP_ARRAY),
        *(MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS, MapType.XSKMAP),
        *(MapType.SOCKMAP, MapType.SOCKHASH, MapType.REUSEPORT_SOCKARRAY),
    }
)
"""Types whose values are descriptors of the daemon's, which a client cannot know."""

_FUNC, _TYPEDEF = 12, 8
_MAX_INSTRUCTIONS = 1_000_000


def validate(spec: objects_pb2.ObjectSpec, options: LoadOptions) -> None:
    """Raises InvalidArgument where the spec contradicts itself; touches nothing."""
    map_names = [item.name for item in spec.maps]
    program_names = [item.name for item in spec.programs]
    for kind, names in (("maps", map_names), ("programs", program_names)):
        if len(set(names)) != len(names) or "" in names:
            raise InvalidArgument(f"spec.{kind}", "every one needs a name of its own")
    for index, item in enumerate(spec.maps):
        if int(item.type) in _OF_FILES and item.initial_values:
            raise InvalidArgument(
                f"spec.maps[{index}].initial_values",
                "values of this type are file descriptors: write them afterwards, or give "
                "initial_refs",
            )
    if not map_names and not program_names:
        raise InvalidArgument("spec", "neither maps nor programs")
    for kind, given, have in (
        ("maps", options.maps, map_names),
        ("programs", options.programs, program_names),
    ):
        for name in given:
            if name not in have:
                raise InvalidArgument(f"options.{kind}", f"the spec has no {name!r}")
    if options.constants:
        raise InvalidArgument("options.constants", "write them into initial_values of the spec")
    for index, program in enumerate(spec.programs):
        _validate_program(f"spec.programs[{index}]", program, map_names)


def _validate_program(
    field: str, program: objects_pb2.ProgramSpec, map_names: list[str]
) -> None:
    count, rest = divmod(len(program.instructions), 8)
    if rest or not count or count > _MAX_INSTRUCTIONS:
        raise InvalidArgument(
            f"{field}.instructions",
            f"{len(program.instructions)} bytes; 1 to {_MAX_INSTRUCTIONS} of 8 bytes each",
        )
    for which in ("func_info", "line_info"):
        size, record = len(getattr(program, which)), getattr(program, f"{which}_record_size")
        if size and (not record or size % record):
            raise InvalidArgument(f"{field}.{which}", "not a multiple of its record size")
    for number, relocation in enumerate(program.relocations):
        where = f"{field}.relocations[{number}]"
        at = relocation.instruction
        if at + 1 >= count or program.instructions[at * 8] != BPF_LD_IMM64:
            raise InvalidArgument(where, f"instruction {at} is not a 16-byte load (ld_imm64)")
        if relocation.WhichOneof("target") == "map" and relocation.map not in map_names:
            raise InvalidArgument(where, f"the spec has no map {relocation.map!r}")
        if relocation.kind == objects_pb2.RELOCATION_KIND_UNSPECIFIED:
            raise InvalidArgument(where, "kind is missing")


def relocate(
    instructions: bytes, relocations: list[tuple[int, int, int]], byteorder: str = sys.byteorder
) -> bytes:
    """Instructions with map file descriptors in place. Pure.

    `relocations` are (instruction index, BPF_PSEUDO_..., fd). The second half of the load,
    which is the offset for BPF_PSEUDO_MAP_VALUE, stays as it is.
    """
    code = bytearray(instructions)
    order = "<" if byteorder == "little" else ">"
    for index, pseudo, fd in relocations:
        registers = code[index * 8 + 1]
        code[index * 8 + 1] = (
            (registers & 0x0F) | pseudo << 4
            if byteorder == "little"
            else (registers & 0xF0) | pseudo
        )
        struct.pack_into(f"{order}i", code, index * 8 + 4, fd)
    return bytes(code)


def load(
    spec: objects_pb2.ObjectSpec,
    options: LoadOptions,
    map_fd: MapFd,
    program_fd: ProgramFd,
    cancelled: Cancel = never,
) -> Loaded:
    """Loads all maps and programs of a spec. All or nothing; errors as for an ELF object."""
    validate(spec, options)
    map_memory.check(_definitions(spec, options))
    loaded = Loaded()
    with ExitStack() as stack:
        failed = stack.enter_context(ExitStack())
        failed.callback(loaded.close)
        btf_fd = 0
        if spec.btf:
            btf_fd = _load_btf(spec.btf)
            stack.callback(os.close, btf_fd)
        for item in spec.maps:
            if cancelled():
                raise Cancelled
            loaded.maps[item.name] = _create_map(item, options, btf_fd, map_fd)
        for program in spec.programs:
            if cancelled():
                raise Cancelled
            setting = options.programs.get(program.name)
            if setting is not None and setting.load is False:
                continue
            loaded.programs[program.name] = _load_program(
                program, options, loaded, btf_fd, map_fd, program_fd
            )
        for item in spec.maps:
            _fill_map(item, loaded)
        failed.pop_all()
    return loaded


def _definitions(
    spec: objects_pb2.ObjectSpec, options: LoadOptions
) -> dict[str, rejection.MapDefinition]:
    """Maps that will be made."""
    found = {}
    for item in spec.maps:
        setting = options.maps.get(item.name, MapSetting())
        if setting.reuse_fd is None and not item.HasField("reuse"):
            flags = setting.map_flags if setting.map_flags is not None else item.map_flags
            found[item.name] = rejection.MapDefinition(
                item.type,
                item.key_size,
                setting.value_size or item.value_size,
                setting.max_entries or item.max_entries,
                flags,
            )
    return found


def _load_btf(data: bytes) -> int:
    try:
        return syscall.btf_load(data)
    except OSError:
        log = syscall.buffer(1 << 20)
        try:
            return syscall.btf_load(data, log)
        except OSError as error:
            said = log.value.decode(errors="replace").strip().splitlines()
            raise InvalidArgument(
                "spec.btf", f"the kernel refused it: {said[-1] if said else error.strerror}"
            ) from None


def _create_map(
    item: objects_pb2.MapSpec, options: LoadOptions, btf_fd: int, map_fd: MapFd
) -> LoadedMap:
    setting = options.maps.get(item.name)
    reuse = None
    if setting is not None and setting.reuse_fd is not None:
        reuse = setting.reuse_fd
    elif item.HasField("reuse"):
        reuse = map_fd(item.reuse)
    if reuse is not None:
        info = map_info(reuse)
        if (info.type, info.key_size, info.value_size) != (
            item.type,
            item.key_size,
            item.value_size,
        ):
            raise InvalidArgument(
                f"map {item.name}", f"map {info.id} has another type or other sizes"
            )
        return LoadedMap(item.name, os.dup(reuse), info.id, info.type, reused=True)
    inner_fd = 0
    with ExitStack() as stack:
        if item.HasField("inner"):
            inner = _create_map(item.inner, LoadOptions(), btf_fd, map_fd)
            stack.callback(os.close, inner.fd)
            inner_fd = inner.fd
        typed = bool(item.btf_value_type_id or item.btf_vmlinux_value_type_id)
        try:
            fd = syscall.map_create(
                item.type,
                item.key_size,
                setting.value_size if setting and setting.value_size else item.value_size,
                setting.max_entries if setting and setting.max_entries else item.max_entries,
                name=item.name,
                flags=setting.map_flags
                if setting and setting.map_flags is not None
                else item.map_flags,
                inner_map_fd=inner_fd,
                numa_node=item.numa_node,
                ifindex=item.ifindex,
                btf_fd=btf_fd if typed else 0,
                btf_key_type_id=item.btf_key_type_id,
                btf_value_type_id=item.btf_value_type_id,
                btf_vmlinux_value_type_id=item.btf_vmlinux_value_type_id,
                map_extra=item.map_extra or _address(item),
            )
        except OSError as error:
            raise _map_refused(error.errno or 0, item) from None
    return LoadedMap(item.name, fd, map_info(fd).id, item.type)


def _map_refused(number: int, item: objects_pb2.MapSpec) -> BpfdError:
    kind = name_of(MapType, item.type)
    if number == errno.EINVAL and f"map {kind}" in features.PROBES:
        found = features.feature(f"map {kind}")
        if not found.supported:
            return NotSupported(f"maps of type {kind}", found.since, found.needs)
    definition = rejection.MapDefinition(
        item.type,
        item.key_size,
        item.value_size,
        item.max_entries,
        item.map_flags,
        item.HasField("inner"),
    )
    return rejection.map_refused(number, item.name, definition)


def _address(item: objects_pb2.MapSpec) -> int:
    """Where an arena is mapped that does not say it: see `bpfd.kernel.arena`."""
    return arena.ADDRESS if int(item.type) == MapType.ARENA else 0


def _load_program(
    item: objects_pb2.ProgramSpec,
    options: LoadOptions,
    loaded: Loaded,
    btf_fd: int,
    map_fd: MapFd,
    program_fd: ProgramFd,
) -> LoadedProgram:
    fixes = []
    for relocation in item.relocations:
        value = relocation.kind == objects_pb2.RELOCATION_KIND_MAP_VALUE
        if relocation.WhichOneof("target") == "map":
            fd = loaded.maps[relocation.map].fd
        else:
            fd = map_fd(relocation.loaded)
        fixes.append(
            (relocation.instruction, BPF_PSEUDO_MAP_VALUE if value else BPF_PSEUDO_MAP_FD, fd)
        )
    code = relocate(item.instructions, fixes)
    attach_fd = program_fd(item.attach_program) if item.HasField("attach_program") else 0
    own_btf = 0
    try:
        if item.attach_btf_obj_id:
            own_btf = attach_fd = syscall.fd_by_id(Cmd.BTF_GET_FD_BY_ID, item.attach_btf_obj_id)
        return _verify(item, options, loaded, code, btf_fd, attach_fd)
    finally:
        if own_btf:
            os.close(own_btf)


def _verify(
    item: objects_pb2.ProgramSpec,
    options: LoadOptions,
    loaded: Loaded,
    code: bytes,
    btf_fd: int,
    attach_fd: int,
) -> LoadedProgram:
    log = syscall.buffer(options.log_size or DEFAULT_LOG_BYTES)
    setting = options.programs.get(item.name)
    attach_type = item.expected_attach_type
    if setting is not None and setting.expected_attach_type is not None:
        attach_type = setting.expected_attach_type
    kind = setting.type if setting is not None and setting.type else item.type
    btf_id = item.attach_btf_id or _attach_target(item, kind, attach_type)
    kept = _code(item, code, kind, setting.flags if setting else 0)
    error = 0
    for level in (options.log_level, 1):
        try:
            fd = syscall.prog_load(
                kind,
                code,
                item.license,
                name=item.name,
                expected_attach_type=attach_type,
                flags=item.flags | (setting.flags if setting else 0),
                kernel_version=item.kernel_version,
                ifindex=item.ifindex,
                btf_fd=btf_fd,
                func_info=item.func_info,
                func_info_record_size=item.func_info_record_size,
                line_info=item.line_info,
                line_info_record_size=item.line_info_record_size,
                attach_btf_id=btf_id,
                attach_fd=attach_fd,
                core_relocations=item.core_relocations,
                core_relocation_record_size=item.core_relocation_record_size,
                log_level=level,
                log=log,
            )
        except OSError as failure:
            error = failure.errno or 0
            continue
        if options.log_level:
            loaded.logs.append(ProgramLog(item.name, log.value.decode(errors="replace")))
        return LoadedProgram(item.name, fd, prog_info(fd).id, kind, attach_type, code=kept)
    raise rejection.program_refused(error, item.name, log.value.decode(errors="replace"), kind)


def _code(
    item: objects_pb2.ProgramSpec, code: bytes, kind: int, flags: int
) -> program_code.Code | None:
    """What an XDP program was loaded from."""
    if kind != ProgType.XDP:
        return None
    return program_code.taken(
        code,
        item.func_info,
        item.func_info_record_size,
        item.line_info,
        item.line_info_record_size,
        flags=item.flags | flags,
        ifindex=item.ifindex,
    )


def _attach_target(item: objects_pb2.ProgramSpec, kind: int, attach_type: int) -> int:
    """BTF id of `attach_function` in the kernel, by the naming rules of each kind."""
    name = item.attach_function
    if not name:
        return 0
    if kind == ProgType.LSM:
        found = vmlinux_type_id(f"bpf_lsm_{name}", _FUNC)
    elif attach_type == AttachType.TRACE_RAW_TP:
        found = vmlinux_type_id(f"btf_trace_{name}", _TYPEDEF)
    elif attach_type == AttachType.TRACE_ITER:
        found = vmlinux_type_id(f"bpf_iter_{name}", _FUNC)
    else:
        found = vmlinux_type_id(name, _FUNC)
    if not found:
        raise InvalidArgument(
            f"program {item.name}", f"the target's kernel has no {name!r} to attach to"
        )
    return found


def _fill_map(item: objects_pb2.MapSpec, loaded: Loaded) -> None:
    target = loaded.maps[item.name]
    if target.reused:
        return
    keys = item.initial_keys
    if item.initial_refs:
        fds = [
            loaded.maps[ref.map].fd
            if ref.WhichOneof("ref") == "map"
            else loaded.programs[ref.program].fd
            for ref in item.initial_refs
        ]
        values = b"".join(struct.pack("=I", fd) for fd in fds)
        width = 4
    else:
        values, width = item.initial_values, value_width(map_info(target.fd))
    count = len(keys) // item.key_size if item.key_size else 0
    if len(keys) != count * item.key_size or len(values) != count * width:
        raise InvalidArgument(
            f"map {item.name}",
            f"{len(keys)} bytes of keys do not match {len(values)} of values",
        )
    for index in range(count):
        key = keys[index * item.key_size : (index + 1) * item.key_size]
        try:
            syscall.map_update_elem(target.fd, key, values[index * width : (index + 1) * width])
        except OSError as error:
            raise InvalidArgument(
                f"map {item.name}", f"initial value {index}: {error.strerror}"
            ) from None
    if item.freeze:
        syscall.map_freeze(target.fd)
