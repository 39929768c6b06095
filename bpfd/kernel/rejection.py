# SPDX-License-Identifier: Apache-2.0
"""From what libbpf and the verifier said to the kind of error it is. Pure."""

from __future__ import annotations

import errno
import re

from bpfd.errors import (
    BpfdError,
    InvalidArgument,
    KernelError,
    LimitExceeded,
    NotSupported,
    PermissionMissing,
    VerifierRejected,
)
from bpfd.kernel.constants import ProgType

_FAILED = re.compile(r"prog '([^']+)': (?:BPF program load failed|failed to load)")
_MAP = re.compile(r"map '([^']+)': failed to create: .*\((-?\d+)\)")
_SECTION = re.compile(
    r"prog '([^']+)': missing BPF prog type, check ELF section name '([^']*)'"
)
_TARGET = re.compile(r"prog '([^']+)': failed to find kernel BTF type ID of '([^']+)'")
_STATISTICS = ("processed ", "verification time", "stack depth", "mark_precise")

_GATED = {
    ProgType.TRACING: ("fentry, fexit and fmod_ret", "5.5"),
    ProgType.LSM: ("LSM programs", "5.7"),
    ProgType.EXT: ("freplace (program extensions)", "5.6"),
}


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
    said = "; ".join(line.removeprefix("libbpf: ") for line in lines[-3:])
    why = said or "libbpf does not understand this ELF file"
    if "legacy map definitions" in why:
        why += '; declare maps in SEC(".maps") with BTF (libbpf 1.0 dropped the old form)'
    if error == errno.ENOMEM:
        return KernelError("opening the object", error)
    return InvalidArgument("elf", why)


def explain(
    error: int,
    lines: list[str],
    program: str,
    log: str,
    types: dict[str, tuple[int, str]],
) -> BpfdError:
    """bpf_object__load() failed with `error` after it had said `lines`."""
    said = "\n".join(lines)
    if program and not (_SECTION.search(said) or _TARGET.search(said)):
        return program_refused(error, program, log, types.get(program, (0, ""))[0])
    if found := _MAP.search(said):
        return map_refused(-int(found[2]), found[1])
    if found := _SECTION.search(said):
        return InvalidArgument(
            "elf",
            f"program {found[1]} is in section {found[2]!r}, which no hook is known by; "
            'name the section after its hook, as SEC("xdp"), or set its type',
        )
    if found := _TARGET.search(said):
        return InvalidArgument(
            "elf",
            f"program {found[1]} wants {found[2]!r}, which the target's kernel does not have",
        )
    if "valid kernel BTF" in said:
        return NotSupported(
            "CO-RE relocations without kernel BTF",
            needs="a kernel with CONFIG_DEBUG_INFO_BTF, or BTF of this kernel sent along",
        )
    text = "; ".join(line.removeprefix("libbpf: ") for line in lines[-3:])
    if error == errno.EPERM:
        return PermissionMissing("CAP_BPF or CAP_SYS_ADMIN", action=f"loading ({text})")
    if error in (errno.EINVAL, errno.ENOENT, errno.ESRCH, errno.ENOEXEC):
        return InvalidArgument("elf", text or "libbpf cannot load this object")
    return KernelError(f"loading the object ({text})", error)


def program_refused(error: int, program: str, log: str, program_type: int) -> BpfdError:
    """BPF_PROG_LOAD failed with `error` and wrote `log`."""
    if said_something(log):
        return VerifierRejected(program, log, error, instruction=last_instruction(log))
    if error == errno.EPERM:
        gated = _GATED.get(ProgType(program_type)) if program_type in _GATED else None
        if gated:
            return NotSupported(
                f"{gated[0]} (program {program})",
                since=gated[1],
                needs="a kernel that permits them: this one refuses the program type itself",
            )
        return PermissionMissing(
            "CAP_BPF with CAP_PERFMON or CAP_NET_ADMIN", action=f"loading program {program}"
        )
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


def map_refused(error: int, name: str) -> BpfdError:
    """BPF_MAP_CREATE failed with `error`."""
    if error == errno.EPERM:
        return PermissionMissing("CAP_BPF", action=f"creating map {name}")
    if error in (errno.E2BIG, errno.ENOMEM):
        return KernelError(
            f"creating map {name}", error, hint="too large for this target; lower max_entries"
        )
    if error == errno.EINVAL:
        return InvalidArgument(
            f"map {name}",
            "the kernel does not take its type, sizes or flags; see `bpfctl target info`",
        )
    return KernelError(f"creating map {name}", error)
