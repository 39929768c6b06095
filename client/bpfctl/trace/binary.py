# SPDX-License-Identifier: Apache-2.0
"""User functions: a binary of the target, its functions, and what is known of their types."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bpfctl.errors import BpfctlError, NotFound

from . import dwarf, kernel, subject
from .program import Hook, Parameter, Probe
from .registers import Place, convention, places, result
from .spec import Spec, is_pattern
from .values import CType, text_pointer

if TYPE_CHECKING:
    from bpfctl.target import Target

MAX_BYTES = 512 << 20
"""Of a binary that is read for its types."""


@dataclass(frozen=True)
class Symbols:
    """Functions of an ELF file."""

    addresses: dict[str, int]
    machine: str
    """"EM_X86_64", ..."""
    word: int
    """Bytes of a pointer."""


def symbols(data: bytes) -> Symbols:
    """Functions of .symtab and .dynsym by name. Pure; raises ValueError for what is no ELF."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(io.BytesIO(data))
        found: dict[str, int] = {}
        for name in (".symtab", ".dynsym"):
            table: Any = elf.get_section_by_name(name)
            for each in table.iter_symbols() if table is not None else ():
                if each["st_info"]["type"] == "STT_FUNC" and each["st_value"]:
                    found.setdefault(each.name, each["st_value"])
        return Symbols(found, elf["e_machine"], elf.elfclass // 8)
    except (ELFError, UnicodeDecodeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def find(target: Target, spec: Spec) -> subject.Subject:
    """User functions that a specification names; raises NotFound and what reading raises."""
    path = located(target, spec.binary)
    data, why = _read(target, path)
    known: Symbols | None = None
    if data is not None:
        try:
            known = symbols(data)
        except ValueError as error:
            why = f"{path} is no sound ELF file ({error})"
    if is_pattern(spec.name):
        return _many(target, spec, path, known, why)
    notes = []
    if known is not None and spec.name not in known.addresses:
        near = subject.near_names(spec.name, list(known.addresses))
        if not known.addresses:
            notes.append(f"{path} is stripped: the function is looked for on the target")
        else:
            raise NotFound(
                f"function in {path} called", spec.name, near, _inlined(data, spec.name)
            )
    probe, more = _probe(target, path, spec.name, data, known, why)
    return subject.Subject(spec, probe, binary=path, notes=(*notes, *more))


def _inlined(data: bytes | None, name: str) -> str:
    """What the debug information says of a function that is no symbol."""
    try:
        dwarf.signature(data or b"", name)
    except dwarf.NoDebugInformation:
        return ""
    return "its source has it, but the compiler has put it into its callers (inlined)"


def located(target: Target, name: str) -> str:
    """The path of a bare name, among what processes run and map; else the name itself."""
    if name.startswith("/"):
        return name
    from bpfd.v1 import target_pb2

    rpc = target.rpc
    request = target_pb2.ListProcessesRequest(mappings=True)
    with rpc.stream(rpc.target.ListProcesses, request, "Target.ListProcesses") as stream:
        for chunk in stream:
            for process in chunk.processes:
                for mapping in process.mappings:
                    if mapping.path.rpartition("/")[2] == name:
                        return mapping.path
    return name


def _read(target: Target, path: str) -> tuple[bytes | None, str]:
    """(content, "") or (None, why it is not to be had)."""
    if not path.startswith("/"):
        return None, f"no process maps {path}"
    try:
        if target.files.stat(path).size > MAX_BYTES:
            return None, f"{path} is larger than {MAX_BYTES >> 20} MiB"
        return target.files.read(path), ""
    except BpfctlError as error:
        return None, str(error)


def _probe(
    target: Target,
    path: str,
    name: str,
    data: bytes | None,
    known: Symbols | None,
    why: str,
) -> tuple[Probe, list[str]]:
    word = known.word if known is not None else target.info().pointer_bits // 8
    rules = convention(target.info().machine, known.machine if known else "")
    if rules is None:
        return Probe("uprobe", (name,), pointer_size=word), [
            "how functions of this machine take arguments is not known here"
        ]
    try:
        address = known.addresses.get(name, -1) if known is not None else -1
        signed = _signature(target, path, data, name, address, why)
    except dwarf.NoDebugInformation as error:
        raw = CType("int", word, text="long", signed=True)
        return Probe(
            *("uprobe", (name,), rules.declaration, "struct registers *"),
            kernel.registers(rules, word),
            raw,
            result(rules, raw),
            word,
            rules.caller,
        ), [f"arguments have no names and types, as {error}; arg0, arg1, ... are registers"]
    kinds = [kind for _, kind in signed.parameters]
    found = places(rules, kinds)
    parameters = [
        Parameter(each, text_pointer(word) if kind.points_to_text else kind, place)
        for (each, kind), place in zip(signed.parameters, found, strict=True)
    ]
    if signed.variadic:
        parameters.append(Parameter("...", CType("unknown"), Place(why="variadic: not told")))
    returned = signed.result
    place = Place() if returned.shape == "void" else result(rules, returned)
    return Probe(
        *("uprobe", (name,), rules.declaration, "struct registers *"),
        tuple(parameters),
        returned,
        place,
        word,
        rules.caller,
        f"{returned.text} {name}("
        + ", ".join(f"{k.text} {n}" for n, k in signed.parameters)
        + ")",
    ), []


def _signature(
    target: Target, path: str, data: bytes | None, name: str, address: int, why: str
) -> dwarf.Signature:
    """From the workstation's unstripped copy of the binary, else from the binary itself."""
    from bpfctl.symbols.store import Store

    try:
        build_id = target.files.stat(path).build_id.hex() if path.startswith("/") else ""
    except BpfctlError:
        build_id = ""
    kept = Store().find(build_id)
    if kept is not None:
        try:
            return dwarf.signature(kept.path.read_bytes(), name, address)
        except (dwarf.NoDebugInformation, OSError) as error:
            why = f"{kept.path}: {error}"
    if data is None:
        raise dwarf.NoDebugInformation(why)
    return dwarf.signature(data, name, address)


def _many(
    target: Target, spec: Spec, path: str, known: Symbols | None, why: str
) -> subject.Subject:
    if known is None:
        raise NotFound(f"function in {path} that fits", spec.name, [], why)
    names = subject.fitting(list(known.addresses), spec.name)
    if not names:
        near = subject.near_names(spec.name, list(known.addresses))
        raise NotFound(f"function in {path} that fits", spec.name, near)
    has = subject.supported(target)
    multi = "uprobe multi link" in has
    subject.bounded(spec.name, len(names), subject.MAX_FUNCTIONS if multi else 1024, True)
    subject.needs_cookies("perf link" in has, len(names))
    # One address may have several names, and takes one probe of a program.
    by_address = {known.addresses[each]: each for each in reversed(names)}
    kept = tuple(each for each in names if by_address[known.addresses[each]] == each)
    hook: Hook = "uprobe.multi" if len(kept) > 1 else "uprobe"
    return subject.Subject(spec, Probe(hook, kept), binary=path)
