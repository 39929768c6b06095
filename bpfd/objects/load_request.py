# SPDX-License-Identifier: Apache-2.0
"""From the messages of a load to what the kernel layer takes."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

from bpfd.errors import InvalidArgument
from bpfd.kernel.load_options import Constant, LoadOptions, MapSetting, ProgramSetting
from bpfd.objects import btf_check, elf_check
from bpfd.objects.registry import Registry
from bpfd.v1 import objects_pb2

MAX_LOG_BYTES = 64 * 1024 * 1024
MAX_TYPE_NAME = 256
_LOG_LEVELS = 7


def check_source(
    request: objects_pb2.LoadRequest | objects_pb2.VerifyRequest,
) -> None:
    """Raises InvalidArgument unless there is a sound ELF object or a specification, and
    sound BTF of the kernel where it is sent along."""
    source = request.WhichOneof("source")
    if source is None:
        raise InvalidArgument("source", "neither an ELF object nor a specification")
    if source == "elf":
        elf_check.check(request.elf)
    if request.options.kernel_btf:
        btf_check.check(request.options.kernel_btf, "options.kernel_btf")


def options(
    message: objects_pb2.LoadOptions, registry: Registry, stack: ExitStack, *, pin_root: str
) -> LoadOptions:
    """Settings with references turned into file descriptors that live as long as `stack`."""
    if message.log_level > _LOG_LEVELS:
        raise InvalidArgument("options.log_level", "0, 1, 2, or one of them plus 4")
    if message.log_size > MAX_LOG_BYTES:
        raise InvalidArgument("options.log_size", f"at most {MAX_LOG_BYTES} bytes")
    _check_once("map", [item.name for item in message.maps])
    _check_once("program", [item.name for item in message.programs])
    return LoadOptions(
        maps={item.name: _map_setting(item, registry, stack) for item in message.maps},
        programs={
            item.name: _program_setting(item, registry, stack) for item in message.programs
        },
        constants=tuple(
            Constant(item.map, item.offset, item.value) for item in message.constants
        ),
        log_level=message.log_level,
        log_size=message.log_size,
        kernel_btf=message.kernel_btf,
        pin_root=pin_root,
    )


def _check_once(kind: str, names: list[str]) -> None:
    """One setting would hide the other."""
    for name, times in Counter(names).items():
        if times > 1:
            raise InvalidArgument(f"options.{kind}s", f"{kind} {name} has {times} settings")


def _map_setting(
    item: objects_pb2.MapSetting, registry: Registry, stack: ExitStack
) -> MapSetting:
    if len(item.record_type) > MAX_TYPE_NAME:
        raise InvalidArgument("options.maps", f"map {item.name}: record_type is too long")
    if item.HasField("max_entries") and not item.max_entries:
        raise InvalidArgument("options.maps", f"map {item.name}: max_entries is 0")
    return MapSetting(
        max_entries=item.max_entries if item.HasField("max_entries") else None,
        map_flags=item.map_flags if item.HasField("map_flags") else None,
        value_size=item.value_size if item.HasField("value_size") else None,
        numa_node=item.numa_node if item.HasField("numa_node") else None,
        reuse_fd=stack.enter_context(registry.map_fd(item.reuse))
        if item.HasField("reuse")
        else None,
        pin_path=item.pin_path,
        record_type=item.record_type,
    )


def _program_setting(
    item: objects_pb2.ProgramSetting, registry: Registry, stack: ExitStack
) -> ProgramSetting:
    attach_program = None
    if item.HasField("attach_program"):
        program, _ = stack.enter_context(registry.program(item.attach_program))
        attach_program = program.fd
    return ProgramSetting(
        load=item.load if item.HasField("load") else None,
        type=item.type or None,
        expected_attach_type=item.expected_attach_type
        if item.HasField("expected_attach_type")
        else None,
        attach_function=item.attach_function,
        attach_program_fd=attach_program,
        flags=item.flags,
        ifindex=item.ifindex,
    )
