# SPDX-License-Identifier: Apache-2.0
"""From what libbpf and the verifier said to the kind of error it is. Pure."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from dataclasses import dataclass

from bpfd.errors import (
    BpfdError,
    InvalidArgument,
    KernelError,
    LimitExceeded,
    NotSupported,
    PermissionMissing,
    VerifierRejected,
)
from bpfd.kernel.constants import ENOTSUPP, MapType, ProgType

_FAILED = re.compile(r"prog '([^']+)': (?:BPF program load failed|failed to load)")
_MAP = re.compile(r"map '([^']+)': failed to create: .*\((-?\d+)\)")
_SECTION = re.compile(
    r"prog '([^']+)': missing BPF prog type, check ELF section name '([^']*)'"
)
_TARGET = re.compile(r"prog '([^']+)': failed to find kernel BTF type ID of '([^']+)'")
_EXTERN = re.compile(r"extern \((func|var) ksym\) '([^']+)': not found in kernel")
_REPLACES = re.compile(r"prog '([^']+)': attach program FD is not set")
_AIMLESS = re.compile(r"prog '([^']+)': no BTF-based attach target is specified")
_KERNEL_NAME = re.compile(r"[A-Za-z0-9_.]*")
_KERNEL_NAME_BYTES = 15
_RENAME = "a name has letters, digits, '_' and '.' for the kernel; rename it in the source"
_FAILED_OBJECT = "libbpf: failed to load object"
_STATISTICS = ("processed ", "verification time", "stack depth", "mark_precise")

_GATED = {
    ProgType.TRACING: ("fentry, fexit and fmod_ret", "5.5"),
    ProgType.LSM: ("LSM programs", "5.7"),
    ProgType.EXT: ("freplace (program extensions)", "5.6"),
}

# Sections that a kernel may be too old for, or built without.
_YOUNG = {
    "fsession": ("one program for entry and exit; use a fentry and a fexit program", "7.0"),
    "fsession.s": ("one program for entry and exit; use fentry.s and fexit.s programs", "7.0"),
    "lirc_mode2": ("a kernel with CONFIG_BPF_LIRC_MODE2", "4.18"),
    "netfilter": ("a kernel with CONFIG_NETFILTER_BPF_LINK; use tc or cgroup_skb", "6.4"),
}

# What the verifier says of a type that it does not know; of most it says nothing.
_UNKNOWN_TYPE = re.compile(r"\A\s*\Z|programs can be sleepable|^\s*processed 0", re.MULTILINE)

# Types that the kernel attaches by its own BTF.
_BY_BTF = {
    ProgType.TRACING: ("fentry, fexit, fmod_ret, tp_btf and iterators", "5.5"),
    ProgType.LSM: ("LSM programs", "5.7"),
    ProgType.STRUCT_OPS: ("struct_ops", "5.6"),
}

# Maps of these kinds have no fixed number of entries, or no values.
_WITHOUT_ENTRIES = {
    *(MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE, MapType.SK_STORAGE),
    *(MapType.INODE_STORAGE, MapType.TASK_STORAGE, MapType.CGRP_STORAGE),
}
_WITHOUT_VALUES = {MapType.RINGBUF, MapType.USER_RINGBUF, MapType.ARENA}
_OF_MAPS = {MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS}


@dataclass(frozen=True)
class MapDefinition:
    """A map as the object and the settings of the load define it; sizes in bytes."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    has_inner: bool = False


def failed_program(lines: list[str]) -> str:
    """Name of the program that libbpf could not load; "" when it was something else."""
    for line in lines:
        if found := _FAILED.search(line):
            return found[1]
    return ""


def last_instruction(log: str) -> int:
    """Index of the last instruction that a verifier log names; -1: none."""
    found = -1
    for match in re.finditer(r"^(\d+): ", log, re.MULTILINE):
        found = int(match[1])
    return found


def said_something(log: str) -> bool:
    """Whether the log holds more than statistics."""
    return any(line.strip() and not line.startswith(_STATISTICS) for line in log.splitlines())


def open_failed(error: int, lines: list[str]) -> BpfdError:
    """bpf_object__open_mem() gave nothing."""
    why = _tail(lines) or "libbpf does not understand this ELF file"
    if "legacy map definitions" in why:
        why += '; declare maps in SEC(".maps") with BTF (libbpf 1.0 dropped the old form)'
    if "BTF is required" in why:
        why = "its maps are declared by BTF, which it lacks: compile it with -g, keep .BTF"
    if error == errno.ENOMEM:
        return KernelError("opening the object", error)
    return InvalidArgument("elf", why)


def explain(
    error: int,
    lines: list[str],
    program: str,
    log: str,
    types: dict[str, tuple[int, str]],
    maps: dict[str, MapDefinition] | None = None,
    *,
    kernel_btf: bool = False,
) -> BpfdError:
    """bpf_object__load() failed with `error` after it had said `lines`.

    `kernel_btf`: BTF of the kernel was sent along.
    """
    said = "\n".join(lines)
    if found := _REPLACES.search(said):
        return InvalidArgument(
            "elf",
            f"program {found[1]} replaces a function of another program (freplace): say of "
            f"which, with --function {found[1]}=OBJECT/PROGRAM:FUNCTION, "
            f"{_leave_out(found[1])}",
        )
    if found := _AIMLESS.search(said):
        return InvalidArgument(
            "elf",
            f"the section of program {found[1]} does not say of which function: say it with "
            f"--function {found[1]}=FUNCTION, {_leave_out(found[1])}",
        )
    if program and not (_SECTION.search(said) or _TARGET.search(said)):
        kind, section = types.get(program, (0, ""))
        return program_refused(error, program, log, kind, section)
    if found := _MAP.search(said):
        return map_refused(-int(found[2]), found[1], (maps or {}).get(found[1]))
    if found := _SECTION.search(said):
        return InvalidArgument(
            "elf",
            f"program {found[1]} is in section {found[2]!r}, which no hook is known by; "
            'name the section after its hook, as SEC("xdp"), or set its type',
        )
    if found := _TARGET.search(said):
        return InvalidArgument(
            "elf",
            f"program {found[1]} wants {found[2]!r}, which the target's kernel does not have; "
            f"hook what it has, with --function {found[1]}=NAME, {_leave_out(found[1])}",
        )
    if found := _EXTERN.search(said):
        uses = "calls the kernel's function" if found[1] == "func" else "reads the kernel's"
        return InvalidArgument(
            "elf",
            f"the object {uses} {found[2]!r}, which the target's kernel does not have or not "
            "offer; declare it __weak and look whether it is there, or leave out what uses it",
        )
    if "valid kernel BTF" in said:
        return _without_kernel_btf(types, kernel_btf)
    text = _tail(line for line in lines if not line.startswith(_FAILED_OBJECT))
    if error == errno.EPERM:
        return PermissionMissing("CAP_BPF or CAP_SYS_ADMIN", action=f"loading ({text})")
    if error in (errno.EINVAL, errno.ENOENT, errno.ESRCH, errno.ENOEXEC):
        return InvalidArgument("elf", text or "libbpf cannot load this object")
    return KernelError(f"loading the object ({text})", error)


def _without_kernel_btf(types: dict[str, tuple[int, str]], sent: bool) -> NotSupported:
    """libbpf wants BTF of a kernel that has none."""
    for name, (kind, section) in types.items():
        if kind in _BY_BTF:
            what, since = _BY_BTF[ProgType(kind)]
            return NotSupported(
                f"{what}, the kind of program {name} ({section})",
                since=since,
                needs="the kernel itself attaches it by its own BTF, and was built without "
                "(CONFIG_DEBUG_INFO_BTF); hook a kprobe, a tracepoint or a raw tracepoint "
                f"instead, {_leave_out(name)}",
            )
    if sent:
        return NotSupported(
            "kernel symbols and kernel functions with a type (extern ... __ksym)",
            needs="a kernel with CONFIG_DEBUG_INFO_BTF; of a variable the address alone is to "
            "be had: `extern const void NAME __ksym;`",
        )
    return NotSupported(
        "CO-RE relocations without kernel BTF",
        needs="a kernel with CONFIG_DEBUG_INFO_BTF, or BTF of this kernel sent along "
        "(LoadOptions.kernel_btf)",
    )


def program_refused(
    error: int, program: str, log: str, program_type: int, section: str = ""
) -> BpfdError:
    """BPF_PROG_LOAD failed with `error` and wrote `log`."""
    if error == errno.ENOSPC:
        # Kernels before 6.4 (121664093803) do not keep the end of a long log.
        return LimitExceeded(
            f"the verifier's log of program {program}",
            len(log),
            hint="this kernel gives up where its log is full; ask for a lower log level",
        )
    head = section.removeprefix("?").partition("/")[0]
    if error == errno.EINVAL and head in _YOUNG and _UNKNOWN_TYPE.search(log):
        needs, since = _YOUNG[head]
        return NotSupported(
            f"{head}, the section of program {program}",
            since=since,
            needs=f"{needs}, {_leave_out(program)}",
        )
    if program_type == ProgType.STRUCT_OPS and error == ENOTSUPP:
        return InvalidArgument(
            "elf",
            f"program {program} is a member of a struct_ops map, and no map of the object "
            f'names it: declare one in SEC(".struct_ops.link"), {_leave_out(program)}',
        )
    if said_something(log):
        return VerifierRejected(program, log, error, instruction=last_instruction(log))
    if error == errno.EPERM:
        gated = _GATED.get(ProgType(program_type)) if program_type in _GATED else None
        if gated:
            return NotSupported(
                f"{gated[0]}, the type of program {program}",
                since=gated[1],
                needs=f"its kernel refuses the type itself; use another hook, "
                f"{_leave_out(program)}",
            )
        return PermissionMissing(
            "CAP_BPF with CAP_PERFMON or CAP_NET_ADMIN", action=f"loading program {program}"
        )
    if error == errno.EINVAL and not _KERNEL_NAME.fullmatch(program[:_KERNEL_NAME_BYTES]):
        return InvalidArgument("elf", f"program {program!r}: {_RENAME}")
    if error == errno.EINVAL:
        return NotSupported(
            f"the type or flags of program {program}",
            needs="a kernel that has this program type; see `bpfctl target info`",
        )
    if error == errno.E2BIG:
        return LimitExceeded(f"instructions of program {program}", 1_000_000)
    if error == errno.EAGAIN:
        return KernelError(f"loading program {program}", error, hint="interrupted; try again")
    return VerifierRejected(program, log, error)


def map_refused(error: int, name: str, definition: MapDefinition | None = None) -> BpfdError:
    """BPF_MAP_CREATE failed with `error`."""
    if error == errno.EPERM:
        return PermissionMissing("CAP_BPF", action=f"creating map {name}")
    if error in (errno.E2BIG, errno.ENOMEM):
        return KernelError(
            f"creating map {name}", error, hint="too large for this target; lower max_entries"
        )
    if error == errno.EINVAL and not _KERNEL_NAME.fullmatch(name[:_KERNEL_NAME_BYTES]):
        return InvalidArgument("elf", f"map {name!r}: {_RENAME}")
    if error == errno.EINVAL:
        why = _lacks(name, definition) if definition is not None else ""
        return InvalidArgument(
            f"map {name}",
            why
            or f"the kernel does not take {_described(definition)}; see `bpfctl target info`",
        )
    return KernelError(f"creating map {name}", error)


def _lacks(name: str, definition: MapDefinition) -> str:
    """What a definition leaves to whoever loads the object; "": nothing."""
    kind = definition.type
    if kind in _OF_MAPS and not definition.has_inner:
        return (
            "the object does not say what maps it holds, and leaves that to its own loader; "
            "declare it with __array(values, struct INNER)"
        )
    lacks = []
    if not definition.value_size and kind not in _WITHOUT_VALUES:
        lacks.append("value_size")
    if not definition.max_entries and kind not in _WITHOUT_ENTRIES:
        lacks.append("max_entries")
    if not lacks:
        return ""
    if lacks == ["max_entries"]:
        return (
            "the object leaves max_entries to its loader: say them, with "
            f"--map-size {name}=NUMBER"
        )
    return (
        f"the object leaves {' and '.join(lacks)} to its own loader; declare them in the "
        "source, or say them in the settings of the load"
    )


def _described(definition: MapDefinition | None) -> str:
    if definition is None:
        return "its type, sizes or flags"
    try:
        kind = MapType(definition.type).name.lower()
    except ValueError:
        kind = f"map of type {definition.type}"
    return (
        f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} with keys of {definition.key_size} "
        f"bytes, values of {definition.value_size}, max_entries {definition.max_entries} and "
        f"flags {definition.flags:#x}"
    )


def _leave_out(program: str) -> str:
    return f"or leave it out with --no-program {program}"


def _tail(lines: Iterable[str]) -> str:
    """The last words of libbpf, without its name and that of its part."""
    said = [line.removeprefix("libbpf: ").removeprefix("elf: ") for line in lines]
    return "; ".join(said[-3:])
