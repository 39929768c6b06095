# SPDX-License-Identifier: Apache-2.0
"""Which program of an object goes where: by --attach, by its package, by its section."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpfctl import attachpoint
from bpfctl.attachpoint.functions import Aimed, aimed
from bpfctl.errors import InvalidArgument

if TYPE_CHECKING:
    from bpfctl.package import Package
    from bpfd.v1 import attach_pb2


@dataclass(frozen=True)
class Program:
    """A program of a loaded object."""

    name: str
    section: str


@dataclass
class Plan:
    """What to attach, in the object's order."""

    attach: list[tuple[str, attach_pb2.AttachPoint]] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    """Programs that are not attached, and why."""


def make(
    programs: Sequence[Program],
    specs: Iterable[str],
    parameters: Mapping[str, str],
    package: Package | None = None,
    tables: Sequence[str] = (),
) -> Plan:
    """Where each program goes; raises InvalidArgument for what cannot be decided.

    `tables` are the object's struct_ops maps, which are registered as they are.

    `specs` are texts of --attach ("PROGRAM=POINT" or "POINT"), `parameters` what sections
    and packages leave open: interface, cgroup, netns. Once --attach says where some go,
    programs whose section does not say it all are left.
    """
    asked = _asked(programs, specs)
    plan = Plan()
    by_section: list[tuple[str, attach_pb2.AttachPoint]] = []
    for program in programs:
        if program.name in asked:
            plan.attach += [(program.name, point) for point in asked[program.name]]
            continue
        listed = package.program(program.name) if package else None
        if listed is not None and not listed.attached:
            continue
        text = listed.attach_text(parameters) if listed is not None else None
        if text is not None:
            plan.attach.append((program.name, _parsed(text)[0]))
            continue
        try:
            point, why = _by_section(program, parameters)
        except InvalidArgument as error:
            if not asked:
                raise
            point, why = None, error.why
        if point is None:
            plan.left.append((program.name, why))
        else:
            plan.attach.append((program.name, point))
            by_section.append((program.name, point))
    _check_alone(by_section)
    _register(plan, programs, tables)
    return plan


def _register(plan: Plan, programs: Sequence[Program], tables: Sequence[str]) -> None:
    """Struct_ops maps that nobody asked for by name; any of the programs stands for them."""
    members = [each.name for each in programs if each.section.startswith("struct_ops")]
    if not members or not tables:
        return
    plan.left = [(name, why) for name, why in plan.left if name not in members]
    asked = {
        point.struct_ops.map.member.name
        for _, point in plan.attach
        if point.WhichOneof("point") == "struct_ops"
    }
    for name in tables:
        if name not in asked:
            point = attachpoint.parse("struct_ops:any")
            point.struct_ops.map.member.name = name
            plan.attach.append((members[0], point))


def _check_alone(placed: Sequence[tuple[str, attach_pb2.AttachPoint]]) -> None:
    """Raises InvalidArgument where sections send two programs to one interface for XDP."""
    first: dict[str, str] = {}
    for name, point in placed:
        where = attachpoint.describe(point)
        if point.WhichOneof("point") == "xdp" and first.setdefault(where, name) != name:
            raise InvalidArgument(
                "attach",
                f"programs {first[where]} and {name} would both go to {where}, which takes "
                f"one: say which, with --attach {name}={where} and no --interface",
            )


def _by_section(
    program: Program, parameters: Mapping[str, str]
) -> tuple[attach_pb2.AttachPoint | None, str]:
    suggestion = attachpoint.from_section(program.section)
    if suggestion.point is None:
        return None, suggestion.why or "its section does not say where"
    if suggestion.needs is None:
        return suggestion.point, ""
    subject = parameters.get(suggestion.needs)
    if subject:
        return attachpoint.complete(suggestion.point, subject), ""
    kind = attachpoint.describe(suggestion.point).partition(",")[0]
    needs = suggestion.needs
    option = f"--{needs} NAME" if needs == "interface" else f"-p {needs}=..."
    raise InvalidArgument(
        f'program {program.name}, SEC("{program.section}")',
        f"which {needs}? Add {option}, or --attach {program.name}={kind}:...",
    )


def functions(
    programs: Sequence[Program],
    specs: Iterable[str],
    parameters: Mapping[str, str],
    package: Package | None = None,
) -> dict[str, str]:
    """FUNCTION or PROGRAM:FUNCTION that programs must be loaded for, by their names: where
    --attach or the package says so. Raises InvalidArgument."""
    texts = list(specs)
    for program in programs:
        listed = package.program(program.name) if package else None
        if listed is None or not listed.attached:
            continue
        if (text := listed.attach_text(parameters)) is not None:
            texts.append(f"{program.name}={text}")
    found: dict[str, str] = {}
    for spec in texts:
        if ":" not in spec:
            continue
        name, _, aim = _named(programs, spec)
        if aim is None or not aim.function:
            continue
        section = next(each.section for each in programs if each.name == name)
        if not aim.fits(section):
            raise InvalidArgument(
                f"--attach {spec}",
                f'program {name} is not of this kind: its section is SEC("{section}")',
            )
        if found.setdefault(name, aim.function) != aim.function:
            raise InvalidArgument(
                f"--attach {spec}",
                f"program {name} is loaded for one function, and {found[name]} is asked for, "
                "too: run the file once for each",
            )
    return found


def places(programs: Sequence[Program], specs: Iterable[str]) -> dict[str, list[str]]:
    """Where --attach puts programs, as texts by their names. Raises InvalidArgument."""
    return {
        name: [attachpoint.describe(point) for point in points]
        for name, points in _asked(programs, specs).items()
    }


def _asked(
    programs: Sequence[Program], specs: Iterable[str]
) -> dict[str, list[attach_pb2.AttachPoint]]:
    """--attach by program."""
    asked: dict[str, list[attach_pb2.AttachPoint]] = {}
    for spec in specs:
        name, point, _ = _named(programs, spec)
        asked.setdefault(name, []).append(point)
    return asked


def _named(
    programs: Sequence[Program], spec: str
) -> tuple[str, attach_pb2.AttachPoint, Aimed | None]:
    """The program, its point, and what the point fixes at load."""
    names = [program.name for program in programs]
    name, text = attachpoint.split_program(spec)
    point, aim = _parsed(text)
    if name is None:
        name = _meant(programs, point, aim, spec)
    elif name not in names:
        raise InvalidArgument(
            f"--attach {spec}", f"the object has no program {name!r}: {', '.join(names)}"
        )
    if aim is not None:
        section = next(each.section for each in programs if each.name == name)
        aim = aim.completed(section)
        point = attachpoint.parse(aim.point)
    return name, point, aim


def _parsed(text: str) -> tuple[attach_pb2.AttachPoint, Aimed | None]:
    aim = aimed(text)
    return attachpoint.parse(aim.point if aim else text), aim


def _meant(
    programs: Sequence[Program], point: attach_pb2.AttachPoint, aim: Aimed | None, spec: str
) -> str:
    """The one program that an attach point without a program's name can be for."""
    if len(programs) == 1:
        return programs[0].name
    kind = point.WhichOneof("point")
    fitting = []
    for program in programs:
        if aim is not None:
            fits = aim.fits(program.section)
        else:
            suggested = attachpoint.from_section(program.section).point
            fits = suggested is not None and suggested.WhichOneof("point") == kind
        if fits:
            fitting.append(program.name)
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(fitting or [program.name for program in programs])
    raise InvalidArgument(f"--attach {spec}", f"say PROGRAM={spec}; PROGRAM is one of {names}")
