# SPDX-License-Identifier: Apache-2.0
"""Loads an ELF object through libbpf: settings in, file descriptors out."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import mmap
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack

from bpfd.errors import BpfdError, InvalidArgument, KernelError, NotSupported, VerifierRejected
from bpfd.kernel import (
    arena,
    elf_programs,
    libbpf_code,
    map_memory,
    program_code,
    rejection,
    sections,
    struct_ops,
)
from bpfd.kernel.constants import MapType, ProgType
from bpfd.kernel.info import map_info, prog_info
from bpfd.kernel.libbpf import Messages, ObjectOpenOpts, library, links_struct_ops
from bpfd.kernel.load_options import (
    DEFAULT_LOG_BYTES,
    Cancel,
    Cancelled,
    Loaded,
    LoadedMap,
    LoadedProgram,
    LoadOptions,
    ProgramLog,
    never,
)

STACK_BYTES = 127 * 8
"""Size of a stack in a stack_trace map that does not say it: PERF_MAX_STACK_DEPTH addresses of
linux/perf_event.h, the deepest that a kernel takes unless its administrator changed that."""

_INSTRUCTIONS = 3
"""Verifier log levels that write what was verified (BPF_LOG_LEVEL of bpf_verifier.h)."""


class _Log:
    """A log buffer that costs memory only where it is written."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._memory = mmap.mmap(-1, size)
        self._view = ctypes.c_char.from_buffer(self._memory)
        self.address = ctypes.addressof(self._view)

    def text(self) -> str:
        return ctypes.string_at(self.address).decode(errors="replace")

    def close(self) -> None:
        del self._view
        self._memory.close()


def load(name: str, elf: bytes, options: LoadOptions, cancelled: Cancel = never) -> Loaded:
    """Loads all programs and maps of an ELF object. All or nothing.

    Raises InvalidArgument, VerifierRejected, NotSupported, PermissionMissing, KernelError;
    `Cancelled` when the caller has gone away.
    """
    try:
        return _load(name, elf, options, cancelled)
    except VerifierRejected:
        if not options.log_level or options.log_level & _INSTRUCTIONS:
            raise
    # Statistics alone do not say at which instruction; without a level libbpf asks again.
    return _load(name, elf, dataclasses.replace(options, log_level=0), cancelled)


def _load(name: str, elf: bytes, options: LoadOptions, cancelled: Cancel) -> Loaded:
    with ExitStack() as stack, Messages() as lines:
        handle = _open(name, elf, options, stack, lines)
        logs = _configure(handle, options, stack)
        if options.inspect is not None:
            options.inspect(_attach_types(handle))
        pins = _fresh_pins(handle)
        new = _definitions(handle, new=True)
        map_memory.check(new)
        if any(each.type == MapType.ARENA for each in new.values()):
            stack.enter_context(arena.LOCK)  # libbpf maps it, from Linux 6.9's libbpf on
        if cancelled():
            raise Cancelled
        with libbpf_code.taken() as codes:
            result = library().bpf_object__load(handle)
        if result >= 0:
            failed_late = stack.enter_context(ExitStack())
            for path in pins.values():
                failed_late.callback(_unpin, path)
        if cancelled():
            raise Cancelled
        if result < 0:
            failed = rejection.failed_program(lines)
            text = logs[failed].text() if failed in logs else ""
            maps = _definitions(handle)
            sent = bool(options.kernel_btf)
            types = _types(handle)
            raise rejection.explain(-result, lines, failed, text, types, maps, kernel_btf=sent)
        loaded = _collect(handle, options, pins, codes)
        loaded.warnings = [line.removeprefix("libbpf: ") for line in lines]
        if options.log_level:
            loaded.logs = [
                ProgramLog(program, log.text())
                for program, log in logs.items()
                if program in loaded.programs
            ]
        failed_late.pop_all()
        return loaded


def _unpin(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def program_names(name: str, elf: bytes, also: Collection[str] = ()) -> list[str]:
    """Names of the object's programs that load by default or are in `also`, in its order."""
    with ExitStack() as stack, Messages() as lines:
        handle = _open(name, elf, LoadOptions(), stack, lines)
        lib = library()
        return [
            named
            for program in _programs(handle)
            if (named := _text(lib.bpf_program__name(program))) in also
            or lib.bpf_program__autoload(program)
        ]


def map_names(name: str, elf: bytes) -> dict[str, bool]:
    """Names of the object's maps; true: made for global variables."""
    with ExitStack() as stack, Messages() as lines:
        handle = _open(name, elf, LoadOptions(), stack, lines)
        lib = library()
        return {_map_name(item): bool(lib.bpf_map__is_internal(item)) for item in _maps(handle)}


def _open(
    name: str, elf: bytes, options: LoadOptions, stack: ExitStack, lines: list[str]
) -> ctypes.c_void_p:
    libbpf_code.register()
    opts = ObjectOpenOpts(sz=ctypes.sizeof(ObjectOpenOpts), object_name=name.encode())
    opts.pin_root_path = os.fsencode(options.pin_root)
    if options.kernel_btf:
        opts.btf_custom_path = _in_memory(options.kernel_btf, stack)
    if not links_struct_ops():
        elf = sections.readable(elf.replace(b".struct_ops.link\0", b".struct_ops\0link\0"))
    handle = library().bpf_object__open_mem(elf, len(elf), ctypes.byref(opts))
    if not handle:
        raise rejection.open_failed(ctypes.get_errno(), lines)
    pointer = ctypes.c_void_p(handle)
    stack.callback(library().bpf_object__close, pointer)
    elf_programs.type_by_section(_programs(pointer))
    return pointer


def _in_memory(data: bytes, stack: ExitStack) -> bytes:
    """Path of a file with this content, that needs no writable folder; as long as `stack`."""
    fd = os.memfd_create("bpfd-btf")
    stack.callback(os.close, fd)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    return b"/proc/self/fd/%d" % fd


def _text(name: bytes | None) -> str:
    """A name of the object's; what is not UTF-8 is replaced, in a damaged object."""
    return (name or b"").decode(errors="replace")


def _programs(handle: ctypes.c_void_p) -> Iterator[ctypes.c_void_p]:
    item = library().bpf_object__next_program(handle, None)
    while item:
        yield ctypes.c_void_p(item)
        item = library().bpf_object__next_program(handle, item)


def _maps(handle: ctypes.c_void_p) -> Iterator[ctypes.c_void_p]:
    item = library().bpf_object__next_map(handle, None)
    while item:
        yield ctypes.c_void_p(item)
        item = library().bpf_object__next_map(handle, item)


def _map_name(item: ctypes.c_void_p) -> str:
    """Full name; maps of variables by their section (libbpf puts the object's before it)."""
    lib = library()
    name: str = _text(lib.bpf_map__name(item))
    return name[name.find(".") :] if lib.bpf_map__is_internal(item) and "." in name else name


def _types(handle: ctypes.c_void_p) -> dict[str, tuple[int, str]]:
    """(program type, section) of the programs that will be loaded."""
    lib = library()
    return {
        _text(lib.bpf_program__name(item)): (
            lib.bpf_program__type(item),
            elf_programs.section(item),
        )
        for item in _programs(handle)
        if lib.bpf_program__autoload(item)
    }


def _definitions(
    handle: ctypes.c_void_p, *, new: bool = False
) -> dict[str, rejection.MapDefinition]:
    """Maps as they would be created, by the names that libbpf uses in messages; with `new`
    without those that are there already."""
    lib = library()
    return {
        lib.bpf_map__name(item).decode(errors="replace"): rejection.MapDefinition(
            lib.bpf_map__type(item),
            lib.bpf_map__key_size(item),
            lib.bpf_map__value_size(item),
            lib.bpf_map__max_entries(item),
            lib.bpf_map__map_flags(item),
            bool(lib.bpf_map__inner_map(item)),
        )
        for item in _maps(handle)
        if not (new and _there(item))
    }


def _there(item: ctypes.c_void_p) -> bool:
    """Whether a map is taken over: by its fd, or by its pin."""
    lib = library()
    if lib.bpf_map__fd(item) >= 0 or not lib.bpf_map__autocreate(item):
        return True
    path = lib.bpf_map__pin_path(item)
    return bool(path) and os.path.lexists(path)


def _attach_types(handle: ctypes.c_void_p) -> dict[str, tuple[int, int]]:
    """(program type, expected attach type) of the programs that will be loaded."""
    lib = library()
    return {
        _text(lib.bpf_program__name(item)): (
            lib.bpf_program__type(item),
            lib.bpf_program__expected_attach_type(item),
        )
        for item in _programs(handle)
        if lib.bpf_program__autoload(item)
    }


def _configure(
    handle: ctypes.c_void_p, options: LoadOptions, stack: ExitStack
) -> dict[str, _Log]:
    lib = library()
    programs = {_text(lib.bpf_program__name(item)): item for item in _programs(handle)}
    maps = {_map_name(item): item for item in _maps(handle)}
    _known("options.programs", "program", options.programs, programs)
    _known("options.maps", "map", options.maps, maps)
    elf_programs.configure(programs, options)
    _configure_maps(maps, options)
    _write_constants(maps, options)
    size = options.log_size or DEFAULT_LOG_BYTES
    shared = None
    logs = {}
    for name, item in programs.items():
        if options.log_level or shared is None:
            shared = _Log(size)
            stack.callback(shared.close)
        logs[name] = shared
        lib.bpf_program__set_log_buf(item, shared.address, shared.size)
        lib.bpf_program__set_log_level(item, options.log_level)
    return logs


def _known(field: str, kind: str, given: object, there: dict[str, ctypes.c_void_p]) -> None:
    names = list(given) if isinstance(given, dict) else []
    for name in names:
        if name not in there:
            have = ", ".join(there) or "none"
            raise InvalidArgument(field, f"the object has no {kind} {name!r}; it has {have}")


def _configure_maps(maps: dict[str, ctypes.c_void_p], options: LoadOptions) -> None:
    lib = library()
    for name, setting in options.maps.items():
        item = maps[name]
        for value, function in (
            (setting.max_entries, lib.bpf_map__set_max_entries),
            (setting.map_flags, lib.bpf_map__set_map_flags),
            (setting.value_size, lib.bpf_map__set_value_size),
            (setting.numa_node, lib.bpf_map__set_numa_node),
        ):
            if value is not None and (result := function(item, value)) < 0:
                raise InvalidArgument("options.maps", f"map {name}: {os.strerror(-result)}")
        if setting.pin_path:
            lib.bpf_map__set_pin_path(item, os.fsencode(setting.pin_path))
        if setting.reuse_fd is not None:
            _reuse(name, item, setting.reuse_fd)
    for item in maps.values():
        kind = lib.bpf_map__type(item)
        if kind == MapType.STRUCT_OPS:
            struct_ops.prepare(item)
        if kind == MapType.ARENA and not lib.bpf_map__map_extra(item):
            lib.bpf_map__set_map_extra(item, arena.ADDRESS)
        if kind == MapType.STACK_TRACE and not lib.bpf_map__value_size(item):
            lib.bpf_map__set_value_size(item, STACK_BYTES)
    if not options.pin_by_name:
        for name, item in maps.items():
            setting_path = options.maps[name].pin_path if name in options.maps else ""
            path = lib.bpf_map__pin_path(item)
            if path and not setting_path and not os.path.lexists(path):
                lib.bpf_map__set_pin_path(item, None)


def _reuse(name: str, item: ctypes.c_void_p, fd: int) -> None:
    lib = library()
    info = map_info(fd)
    wanted = (
        lib.bpf_map__type(item),
        lib.bpf_map__key_size(item),
        lib.bpf_map__value_size(item),
    )
    have = (info.type, info.key_size, info.value_size)
    if have != wanted:
        raise InvalidArgument(
            "options.maps",
            f"map {name} cannot take over map {info.id}: (type, key, value bytes) is {wanted} "
            f"in the object and {have} in the map; load under another name instead",
        )
    result = lib.bpf_map__reuse_fd(item, fd)
    if result < 0:
        raise KernelError(f"reuse of map {info.id} for {name}", -result)


def _write_constants(maps: dict[str, ctypes.c_void_p], options: LoadOptions) -> None:
    lib = library()
    for constant in options.constants:
        if constant.map not in maps:
            raise InvalidArgument(
                "options.constants", f"the object has no section {constant.map!r} of variables"
            )
        size = ctypes.c_size_t()
        start = lib.bpf_map__initial_value(maps[constant.map], ctypes.byref(size))
        if not start or constant.offset + len(constant.value) > size.value:
            raise InvalidArgument(
                "options.constants",
                f"{len(constant.value)} bytes at {constant.offset} do not fit into "
                f"{constant.map} of {size.value} bytes",
            )
        ctypes.memmove(start + constant.offset, constant.value, len(constant.value))


def _fresh_pins(handle: ctypes.c_void_p) -> dict[str, str]:
    """Paths that libbpf will pin maps under, of those that are not there yet."""
    lib = library()
    return {
        _map_name(item): os.fsdecode(path)
        for item in _maps(handle)
        if (path := lib.bpf_map__pin_path(item)) and not os.path.lexists(path)
    }


def _collect(
    handle: ctypes.c_void_p,
    options: LoadOptions,
    pins: dict[str, str],
    codes: dict[bytes, program_code.Code],
) -> Loaded:
    """Own file descriptors of everything, so that libbpf's object can go."""
    lib = library()
    loaded = Loaded()
    try:
        for item in _maps(handle):
            fd = lib.bpf_map__fd(item)
            if fd < 0:
                continue
            name = _map_name(item)
            setting = options.maps.get(name)
            info = map_info(fd)
            loaded.maps[name] = LoadedMap(
                name,
                os.dup(fd),
                info.id,
                info.type,
                reused=setting is not None and setting.reuse_fd is not None,
                pinned=pins.get(name, ""),
            )
            if info.type == MapType.STRUCT_OPS and options.fill_struct_ops:
                loaded.parts.append(struct_ops.take(item, fd, list(_programs(handle))))
        for item in _programs(handle):
            fd = lib.bpf_program__fd(item)
            if fd < 0 or not lib.bpf_program__autoload(item):
                continue
            name = _text(lib.bpf_program__name(item))
            section = elf_programs.section(item)
            attach_type = lib.bpf_program__expected_attach_type(item)
            loaded.programs[name] = LoadedProgram(
                name,
                os.dup(fd),
                prog_info(fd).id,
                lib.bpf_program__type(item),
                attach_type,
                section,
                _code(item, codes),
            )
    except OSError as error:
        loaded.close()
        raise KernelError("reading back the loaded object", error.errno or 0) from None
    except BpfdError:
        loaded.close()
        raise
    if not loaded.programs and not loaded.maps:
        raise NotSupported("an object without programs and maps", needs="declare a SEC(...)")
    return loaded


def _code(
    item: ctypes.c_void_p, codes: dict[bytes, program_code.Code]
) -> program_code.Code | None:
    """What an XDP program was loaded from; libbpf's fds of maps are open still."""
    lib = library()
    if lib.bpf_program__type(item) != ProgType.XDP:
        return None
    if (found := codes.get(lib.bpf_program__name(item))) is not None:
        return found
    # In a section that says something else: without the names of its functions and lines.
    flags = lib.bpf_program__flags(item)
    return program_code.taken(libbpf_code.instructions(item), flags=flags)
