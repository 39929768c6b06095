# SPDX-License-Identifier: Apache-2.0
"""Which needs of an object this kernel meets, one by one, without the object.

What was tried once is remembered; lists of the kernel's names are read anew for each request,
as modules bring and take them.
"""

from __future__ import annotations

import errno
import fnmatch
import platform
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from bpfd import features
from bpfd.attach.failure import near
from bpfd.attach.ksyscall import prefixes
from bpfd.errors import BpfdError, InvalidArgument
from bpfd.kernel import kernel_symbols, probe, tracepoints
from bpfd.kernel.constants import AttachType, MapType, ProgType, name_of
from bpfd.v1 import target_pb2

MAX_NEEDS = 4096
MAX_NAME_BYTES = 512
_NEAR = 5
_SAME_START = 4
"""Letters that a name which is meant has in common, where there are any such."""

_TRACEPOINT_SYMBOLS = ("__traceiter_", "__tracepoint_")
"""Before the name of each tracepoint: a function (5.10, d25e37d89dd2), and its data."""

_FOR_A_FUNCTION = (ProgType.TRACING, ProgType.LSM, ProgType.EXT, ProgType.STRUCT_OPS)
"""Types that are loaded for a function, or a struct, of the kernel."""

_STAND_INS: dict[tuple[int, int], tuple[str, int]] = {
    (ProgType.TRACING, AttachType.TRACE_RAW_TP): ("btf_trace_sched_switch", 8),
    (ProgType.TRACING, AttachType.TRACE_ITER): ("bpf_iter_task", 12),
    (ProgType.TRACING, AttachType.TRACE_FENTRY): (probe.TRAMPOLINE, 12),
    (ProgType.TRACING, AttachType.TRACE_FEXIT): (probe.TRAMPOLINE, 12),
    (ProgType.LSM, AttachType.LSM_MAC): ("bpf_lsm_quotactl", 12),
}
"""What programs of such a type are loaded for where it does not matter: name and BTF kind."""


@dataclass(frozen=True)
class Answer:
    """What was found. `met` None: it could not be found out."""

    met: bool | None
    probe: str = ""
    since: str = ""
    needs: str = ""
    near: tuple[str, ...] = ()


def answers(needs: Iterable[target_pb2.Need]) -> list[Answer]:
    """One for each need. Blocks. Raises InvalidArgument for a need that says nothing."""
    names = _Names()
    return [_answer(need, names) for need in _checked(list(needs))]


def _checked(needs: list[target_pb2.Need]) -> list[target_pb2.Need]:
    if len(needs) > MAX_NEEDS:
        raise InvalidArgument("needs", f"at most {MAX_NEEDS}, not {len(needs)}")
    for index, need in enumerate(needs):
        which = need.WhichOneof("need")
        where = f"needs[{index}]"
        if which is None:
            raise InvalidArgument(where, "says nothing that this daemon knows")
        value = getattr(need, which)
        if isinstance(value, str) and not 0 < len(value) <= MAX_NAME_BYTES:
            raise InvalidArgument(f"{where}.{which}", f"1 to {MAX_NAME_BYTES} characters")
        if which == "feature" and value not in features.PROBES:
            raise InvalidArgument(
                f"{where}.feature",
                f"{value!r} is not one that `bpfctl target info` lists"
                + "".join(f"; near: {name}" for name in near(value, features.PROBES)[:3]),
            )
    return needs


class _Names:
    """Names of the kernel, each list read when it is asked for, once."""

    @cached_property
    def functions(self) -> set[str]:
        return {name for name, _ in kernel_symbols.functions("")}

    @cached_property
    def tracepoints(self) -> set[str]:
        return {f"{item.category}/{item.name}" for item in tracepoints.tracepoints("", False)}

    @cached_property
    def has_data(self) -> bool:
        return "init_task" in self.symbols

    @cached_property
    def symbols(self) -> set[str]:
        return {
            fields[2].decode(errors="replace")
            for piece in kernel_symbols.kallsyms()
            for line in piece.splitlines()
            if len(fields := line.split()) > 2
        }


def _answer(need: target_pb2.Need, names: _Names) -> Answer:
    match need.WhichOneof("need"):
        case "feature":
            return _feature(need.feature)
        case "program":
            return _program(need.program)
        case "map":
            return _map(need.map)
        case "helper":
            return _helper(need.helper)
        case _:
            try:
                return _name(need, names)
            except (OSError, BpfdError) as error:
                return Answer(None, f"the kernel does not show its names: {error}")


def _feature(name: str) -> Answer:
    found = features.feature(name)
    return Answer(found.supported, found.probe, found.since, found.needs)


def _name(need: target_pb2.Need, names: _Names) -> Answer:
    which = need.WhichOneof("need")
    if which == "function":
        return _among(need.function, names.functions, "functions that probes can be put on")
    if which == "syscall":
        starts = prefixes(platform.machine())
        wanted = [f"{start}{need.syscall}" for start in starts]
        there = next((name for name in wanted if name in names.functions), "")
        if there:
            return Answer(True, f"function {there}")
        calls = {
            name[len(start) :]
            for name in names.functions
            for start in starts
            if name.startswith(start)
        }
        return Answer(False, f"no function {wanted[0]}", near=_near(need.syscall, calls))
    if which == "tracepoint":
        return _among(need.tracepoint, names.tracepoints, "tracefs")
    if which == "raw_tracepoint":
        known = {
            name[len(start) :]
            for name in names.symbols
            for start in _TRACEPOINT_SYMBOLS
            if name.startswith(start)
        }
        return _among(need.raw_tracepoint, known, "tracepoints in /proc/kallsyms")
    found = _among(need.symbol, names.symbols, "/proc/kallsyms")
    if found.met is False and not names.has_data:
        return Answer(None, "/proc/kallsyms has functions only (CONFIG_KALLSYMS_ALL)")
    return found


def _among(name: str, known: set[str], where: str) -> Answer:
    if any(char in name for char in "*?["):
        found = fnmatch.filter(known, name)
        return Answer(bool(found), f"{len(found)} of {where}")
    if name in known:
        return Answer(True, f"among {where}")
    variants = tuple(sorted(each for each in known if each.startswith(f"{name}.")))
    return Answer(
        False if known else None,
        f"not among {len(known)} {where}" if known else f"{where}: none to be seen",
        near=variants[:_NEAR] or _near(name, known),
    )


def _near(name: str, known: Iterable[str]) -> tuple[str, ...]:
    alike = [each for each in known if each[:_SAME_START] == name[:_SAME_START]]
    return tuple(near(name, alike, _NEAR) or near(name, known, _NEAR))


def _program(need: target_pb2.ProgramNeed) -> Answer:
    if int(need.type) in _FOR_A_FUNCTION:
        return Answer(None, "it is loaded for something of the kernel: the object says what")
    plain = _plain("program", ProgType, need.type)
    if plain.met is False or not (need.expected_attach_type or need.flags):
        return plain
    how = f"BPF_PROG_LOAD with attach type {need.expected_attach_type}, flags {need.flags:#x}"
    try:
        probe.program_type(need.type, need.expected_attach_type, need.flags)
    except OSError as error:
        return Answer(_refusal(error), f"{how}: {_words(error)}")
    return Answer(True, f"{how}: works", plain.since)


def _map(need: target_pb2.MapNeed) -> Answer:
    plain = _plain("map", MapType, need.type)
    if plain.met is not True or not need.flags:
        return plain
    how = f"BPF_MAP_CREATE with flags {need.flags:#x}"
    try:
        probe.map_type(need.type, need.flags)
    except OSError as error:
        return Answer(_refusal(error), f"{how}: {_words(error)}")
    return Answer(True, f"{how}: works", plain.since)


def _plain(kind: str, numbers: type[ProgType] | type[MapType], number: int) -> Answer:
    """A program or map type by its feature; one that is none is tried here."""
    name = f"{kind} {name_of(numbers, number)}"
    if name in features.PROBES:
        return _feature(name)
    if number in (MapType.STRUCT_OPS,) and kind == "map":
        return _feature("struct_ops")
    attempt = probe.map_type if kind == "map" else probe.program_type
    how = f"BPF_{'MAP_CREATE' if kind == 'map' else 'PROG_LOAD'} of type {number}"
    try:
        attempt(number)
    except OSError as error:
        # What the smallest one of an unknown type is cannot be known.
        return Answer(None, f"{how}: {_words(error)}")
    return Answer(True, f"{how}: works")


def _refusal(error: OSError) -> bool | None:
    return None if error.errno in (errno.EPERM, errno.ENOMEM, errno.EAGAIN) else False


def _words(error: OSError) -> str:
    return f"{errno.errorcode.get(error.errno or 0, str(error.errno))} ({error.strerror})"


@dataclass
class _Tried:
    lock: threading.Lock = field(default_factory=threading.Lock)
    helpers: dict[tuple[int, int, int], Answer] = field(default_factory=dict)


_tried = _Tried()


def _helper(need: target_pb2.HelperNeed) -> Answer:
    key = (need.number, need.program_type, need.expected_attach_type)
    with _tried.lock:
        if key not in _tried.helpers:
            _tried.helpers[key] = _try_helper(*key)
        return _tried.helpers[key]


def _try_helper(number: int, program_type: int, attach_type: int) -> Answer:
    stand_in = ("", 0)
    if program_type in _FOR_A_FUNCTION:
        found = _STAND_INS.get((program_type, attach_type))
        if found is None:
            return Answer(None, "programs of this type cannot be tried without their hook")
        stand_in = found
    try:
        said = probe.helper_words(number, program_type, attach_type, *stand_in)
    except OSError as error:
        return Answer(None, f"BPF_PROG_LOAD: {_words(error)}")
    met, needs = helper_verdict(said)
    return Answer(met, f"a program that calls it: {said or 'it was loaded'}", needs=needs)


def helper_verdict(said: str) -> tuple[bool | None, str]:
    """(met, what would help) by the verifier's last words on the call; empty: it took it.

    check_helper_call() of kernel/bpf/verifier.c says "invalid func" of a number that the
    kernel has not, "unknown func" (before 6.8, or a helper that is not built in) or "program
    of this type cannot use helper" of one that is not for the type. Whatever else it says is
    of the arguments. Pure.
    """
    if "invalid func" in said:
        return False, "a newer kernel"
    if "unknown func" in said or "program of this type cannot use helper" in said:
        return False, "another program type; this one may not call it on this kernel"
    if "GPL" in said:
        return False, "a licence that is GPL compatible"
    return True, ""
