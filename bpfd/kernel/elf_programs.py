# SPDX-License-Identifier: Apache-2.0
"""Programs of an ELF object before it is loaded: what their sections and the settings say."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from bpfd.errors import InvalidArgument
from bpfd.kernel import sections
from bpfd.kernel.constants import AttachType, ProgType, name_of
from bpfd.kernel.host import host
from bpfd.kernel.libbpf import library
from bpfd.kernel.load_options import LoadOptions, ProgramSetting

_AIMED = (ProgType.TRACING, ProgType.LSM, ProgType.EXT)
"""Types of programs that are checked against a function."""


def type_by_section(programs: Iterable[ctypes.c_void_p]) -> None:
    """Programs whose section this libbpf is too old to know."""
    lib = library()
    for item in programs:
        name = section(item)
        if lib.bpf_program__type(item) != ProgType.UNSPEC and _raw(item) == name:
            continue
        found = sections.meaning(name)
        if found is not None:
            lib.bpf_program__set_type(item, found.type)
            lib.bpf_program__set_expected_attach_type(item, found.attach_type)
            lib.bpf_program__set_flags(item, lib.bpf_program__flags(item) | found.flags)


def section(item: ctypes.c_void_p) -> str:
    """The section of a program as the object calls it."""
    return sections.original(_raw(item))


def _raw(item: ctypes.c_void_p) -> str:
    name: bytes | None = library().bpf_program__section_name(item)
    return (name or b"").decode(errors="replace")


def configure(programs: dict[str, ctypes.c_void_p], options: LoadOptions) -> None:
    """The settings of a load; all of them are of programs that there are.

    Raises InvalidArgument.
    """
    lib = library()
    for name, setting in options.programs.items():
        item = programs[name]
        if setting.load is not None:
            lib.bpf_program__set_autoload(item, setting.load)
        if setting.type is not None:
            lib.bpf_program__set_type(item, setting.type)
        if setting.expected_attach_type is not None:
            lib.bpf_program__set_expected_attach_type(item, setting.expected_attach_type)
        if setting.attach_function or setting.attach_program_fd is not None:
            _aim(name, item, setting)
        if setting.flags:
            lib.bpf_program__set_flags(item, lib.bpf_program__flags(item) | setting.flags)
        if setting.ifindex:
            lib.bpf_program__set_ifindex(item, setting.ifindex)
    for name, item in programs.items():
        aimed = name in options.programs and options.programs[name].attach_function
        if aimed or not lib.bpf_program__autoload(item):
            continue
        if function := sections.function(section(item)):
            _aim(name, item, ProgramSetting(attach_function=function))
    if host().pointer_bits == 32:
        _one_uprobe_each(programs.values())


def _one_uprobe_each(programs: Iterable[ctypes.c_void_p]) -> None:
    """Lets programs for links of many uprobes be attached one by one.

    32-bit kernels have no such links, and from 6.6 on they refuse single ones to programs that
    were loaded for them (bpf_uprobe_multi_link_attach(), bpf_prog_attach_check_attach_type()).
    """
    lib = library()
    for item in programs:
        if lib.bpf_program__expected_attach_type(item) == AttachType.TRACE_UPROBE_MULTI:
            lib.bpf_program__set_expected_attach_type(item, 0)


def _aim(name: str, item: ctypes.c_void_p, setting: ProgramSetting) -> None:
    """Has a program checked against a function, hook or tracepoint, in place of what its
    section names; of a program without a function against the one of the section.

    Raises InvalidArgument.
    """
    lib = library()
    function, program = setting.attach_function, setting.attach_program_fd or 0
    kind = lib.bpf_program__type(item)
    if kind not in _AIMED:
        raise InvalidArgument(
            "options.programs",
            f"{name} is a program of type {name_of(ProgType, kind)}, which is not loaded for a "
            "function: say where it goes when it is attached",
        )
    if kind == ProgType.EXT and not program:
        raise InvalidArgument(
            "options.programs",
            f"{name} replaces a function of a program: say which, as OBJECT/PROGRAM:FUNCTION",
        )
    if lib.bpf_program__set_attach_target(item, program, function.encode() or None) >= 0:
        return
    where = "the target's kernel has no BTF of it: not built in, inlined, or no such hook"
    if program:
        where = "the target program has no such global function in its BTF"
    raise InvalidArgument(
        "options.programs",
        f"{name} cannot be attached to function {function!r}: {where}; leave it out with "
        f"--no-program {name}, or aim it with --function {name}=FUNCTION",
    )
