# SPDX-License-Identifier: Apache-2.0
"""What a specification names on a target: functions or tracepoints that are there.

A name that fits nothing raises NotFound with those that are near, and says why where the
kernel knows the function but nothing can be put on it.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfctl.errors import BpfctlError, InvalidArgument, LimitExceeded, NotFound, NotSupported

from . import kernel
from .program import Probe
from .registers import convention
from .spec import Spec, is_pattern

if TYPE_CHECKING:
    from bpfctl.btf import Btf
    from bpfctl.target import Target
    from bpfd.v1 import target_pb2

MAX_FUNCTIONS = 50_000
"""Of one trace: each one that is hit costs all of its callers some time."""

MAX_SINGLE = 512
"""Of kernels that want a probe and a call of the daemon for each function."""


@dataclass(frozen=True)
class Subject:
    """What is traced, and how the program gets there."""

    spec: Spec
    probe: Probe
    module: str = ""
    """Of a kernel function; empty: the kernel itself."""
    binary: str = ""
    """Path on the target, of user functions."""
    categories: tuple[str, ...] = ()
    """Of tracepoints, one for each."""
    notes: tuple[str, ...] = ()
    """What a user should know about it."""


def find(target: Target, spec: Spec) -> Subject:
    """Look a specification up.

    Raises NotFound, NotSupported, LimitExceeded, InvalidArgument.
    """
    if spec.kind == "uprobe":
        from . import binary

        return binary.find(target, spec)
    if spec.kind == "raw_tp":
        return _raw_tracepoint(target, spec)
    if spec.kind == "tracepoint":
        return _tracepoints(target, spec)
    if spec.kind == "bare":
        return _bare(target, spec)
    return _functions(target, spec)


def supported(target: Target) -> set[str]:
    """Names of the features that a target has."""
    return {each.name for each in target.info(features=True).features if each.supported}


def functions(target: Target, pattern: str) -> list[tuple[str, str]]:
    """(function, module) of those that probes can be put on."""
    from bpfd.v1 import target_pb2

    rpc = target.rpc
    request = target_pb2.ListFunctionsRequest(pattern=pattern)
    with rpc.stream(rpc.target.ListFunctions, request, "Target.ListFunctions") as stream:
        return [(each.name, each.module) for chunk in stream for each in chunk.functions]


def tracepoints(
    target: Target, pattern: str, *, formats: bool = False
) -> list[target_pb2.TracepointInfo]:
    """Tracepoints whose CATEGORY/NAME fits a glob."""
    from bpfd.v1 import target_pb2

    rpc = target.rpc
    request = target_pb2.ListTracepointsRequest(pattern=pattern, format=formats)
    with rpc.stream(rpc.target.ListTracepoints, request, "Target.ListTracepoints") as stream:
        return [each for chunk in stream for each in chunk.tracepoints]


def _bare(target: Target, spec: Spec) -> Subject:
    found = functions(target, spec.name)
    has = supported(target)
    if found and has & {"kprobe", "fentry"}:
        return _functions(target, spec, found)
    try:
        points = tracepoints(target, f"*/{spec.name}")
    except (NotSupported, BpfctlError):
        points = []
    if points:
        return _tracepoints(target, spec)
    if found:
        _require_kprobes(has)
    raise _missing(target, spec.name, tracepoints_too=True)


def _require_kprobes(has: Collection[str]) -> None:
    if not {"kprobe", "fentry"} & set(has):
        raise NotSupported(
            "tracing of kernel functions",
            "4.17",
            "a kernel with CONFIG_KPROBE_EVENTS; tracepoints and user functions can be traced",
        )


def _functions(
    target: Target, spec: Spec, found: list[tuple[str, str]] | None = None
) -> Subject:
    has = supported(target)
    _require_kprobes(has)
    found = functions(target, spec.name) if found is None else found
    if not found:
        raise _missing(target, spec.name)
    if is_pattern(spec.name):
        return _many(spec, found, has)
    name, module = found[0]
    notes = []
    if len(found) > 1:
        notes.append(f"{len(found)} functions are called {name}")
    btf = _types(target, module)
    size = target.info().pointer_bits // 8
    plain = not kernel.CHANGED.search(name)
    if not plain:
        notes.append(
            f"{name} is a copy that the compiler changed: its arguments are not told by name"
        )
    wants_fentry = spec.kind == "fentry"
    if (
        plain
        and btf is not None
        and {"fentry", "fexit"} <= has
        and spec.kind in ("bare", "fentry")
        and len(found) == 1
        and kernel.can_be_fentry(btf, name)
    ):
        probe = kernel.fentry(btf, name, size)
    elif wants_fentry:
        raise NotSupported(
            f"fentry of {name}", "5.5", "BTF of it and plain arguments; kprobe:NAME may do"
        )
    else:
        if "kprobe" not in has:
            raise NotSupported("kprobes", "4.17", "a kernel with CONFIG_KPROBE_EVENTS")
        known = convention(target.info().machine)
        probe = kernel.kprobe(btf if plain else None, name, known, size)
        if btf is not None and plain and not probe.declaration:
            notes.append(f"the kernel's BTF does not tell the arguments of {name}")
    return Subject(spec, probe, module, notes=tuple(notes))


def _types(target: Target, module: str) -> Btf | None:
    from bpfctl.btf.errors import BtfError

    try:
        return target.btf.of_module(module) if module else target.btf.kernel()
    except (BtfError, BpfctlError):
        return None


def _many(spec: Spec, found: list[tuple[str, str]], has: Collection[str]) -> Subject:
    names = tuple(dict.fromkeys(name for name, _ in found))
    multi = "kprobe multi link" in has
    bounded(spec.name, len(names), MAX_FUNCTIONS if multi else MAX_SINGLE, multi)
    needs_cookies("perf link" in has, len(names))
    return Subject(spec, Probe("kprobe.multi" if multi else "kprobe", names))


def bounded(pattern: str, count: int, limit: int, multi: bool) -> None:
    """Raise LimitExceeded where a pattern fits too much."""
    if count > limit:
        hint = "a narrower pattern traces fewer"
        if not multi:
            hint += "; this kernel has no link for many functions at once (5.18, CONFIG_FPROBE)"
        raise LimitExceeded(
            f"the number of functions that {pattern} fits", limit, count, hint=hint
        )


def needs_cookies(known: bool, count: int) -> None:
    """Raise NotSupported where a program cannot tell several functions apart."""
    if count > 1 and not known:
        raise NotSupported(
            "telling several functions apart in one program",
            "5.15",
            "a kernel with cookies of perf links; one function can be traced",
        )


def _tracepoints(target: Target, spec: Spec) -> Subject:
    pattern = f"{spec.category or '*'}/{spec.name}"
    found = tracepoints(target, pattern, formats=not is_pattern(spec.name))
    if not found:
        names = [f"{each.category}:{each.name}" for each in tracepoints(target, "")]
        wanted = f"{spec.category}:{spec.name}" if spec.category else spec.name
        raise NotFound("tracepoint", wanted, near_names(wanted, names))
    if len(found) == 1:
        each = found[0]
        size = target.info().pointer_bits // 8
        format_text = (
            each.format
            or tracepoints(target, f"{each.category}/{each.name}", formats=True)[0].format
        )
        probe = kernel.tracepoint(each.name, format_text, size)
        return Subject(spec, probe, categories=(each.category,))
    names = [f"{each.category}:{each.name}" for each in found]
    bounded(str(spec), len(found), MAX_SINGLE, True)
    needs_cookies("perf link" in supported(target), len(found))
    return Subject(
        spec,
        Probe("tracepoint", tuple(names)),
        categories=tuple(each.category for each in found),
    )


def _raw_tracepoint(target: Target, spec: Spec) -> Subject:
    if spec.pattern:
        raise InvalidArgument("what to trace", "raw_tp: takes one name; tracepoint: a pattern")
    btf = _types(target, "")
    if btf is None:
        raise NotSupported("arguments of raw tracepoints", "5.3", "BTF of the kernel")
    probe = kernel.raw_tracepoint(btf, spec.name, target.info().pointer_bits // 8)
    if probe is None:
        from bpfctl.btf.kinds import Kind

        known = (each.name for each in btf.of_kind(Kind.TYPEDEF))
        names = [each[10:] for each in known if each.startswith("btf_trace_")]
        raise NotFound("raw tracepoint", spec.name, near_names(spec.name, names))
    return Subject(spec, probe)


def near_names(wanted: str, names: Collection[str]) -> list[str]:
    plain = re.sub(r"[*?\[\]]", "", wanted)
    close = difflib.get_close_matches(plain, names, 4, 0.7)
    inside = [each for each in names if plain and plain in each][:4]
    return list(dict.fromkeys([*close, *inside]))[:4]


def _missing(target: Target, name: str, *, tracepoints_too: bool = False) -> NotFound:
    """Why a function cannot be traced, with what is near."""
    every = functions(target, "")
    names = [each for each, _ in every]
    copies = [each for each in names if each.startswith(f"{name}.")]
    if tracepoints_too:
        try:
            names += [f"{each.category}:{each.name}" for each in tracepoints(target, "")]
        except BpfctlError:
            tracepoints_too = False
    if copies:
        hint = "the compiler replaced it by copies with other arguments"
        return NotFound("kernel function", name, copies[:4], hint)
    near = near_names(name, names)
    if not is_pattern(name):
        symbols = set(_symbols(target, name))
        btf = _types(target, "")
        if symbols:
            hint = "the kernel has it, but allows no probes there (notrace)"
            return NotFound("traceable kernel function", name, near, hint)
        if btf is not None and kernel.prototype(btf, name) is not None:
            hint = (
                "the compiler has put it into its callers (inlined): nothing is left to probe"
            )
            return NotFound("kernel function", name, near, hint)
    what = "kernel function or tracepoint" if tracepoints_too else "kernel function"
    return NotFound(what, name, near)


def _symbols(target: Target, name: str) -> Iterator[str]:
    from bpfd.v1 import target_pb2

    rpc = target.rpc
    request = target_pb2.GetKallsymsRequest()
    with rpc.stream(rpc.target.GetKallsyms, request, "Target.GetKallsyms") as stream:
        text = b"".join(chunk.data for chunk in stream)
    for line in re.finditer(rb"^\S+ [tTwW] (%s)\b" % re.escape(name.encode()), text, re.M):
        yield line[1].decode()


def fitting(names: Collection[str], pattern: str) -> list[str]:
    """The names that a glob fits, in their order."""
    matches = re.compile(fnmatch.translate(pattern)).match
    return [each for each in names if matches(each)]
