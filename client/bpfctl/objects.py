# SPDX-License-Identifier: Apache-2.0
"""Objects on a target: loading them, and the handle of one that is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpfctl.errors import InvalidArgument, LimitExceeded, NotFound

if TYPE_CHECKING:
    from bpfctl.maps import Map
    from bpfctl.sessions import Session
    from bpfctl.target import Target
    from bpfd.v1 import attach_pb2, common_pb2, objects_pb2

ConstantValue = int | bool | str | bytes
"""A number, a text for a char array, or the variable's bytes as they are."""


@dataclass(frozen=True)
class LoadSettings:
    """What is changed of an object before it is loaded."""

    constants: Mapping[str, ConstantValue] = field(default_factory=dict)
    """Global variables by name; they need BTF in the object."""
    map_entries: Mapping[str, int] = field(default_factory=dict)
    """max_entries by map name."""
    reuse: Mapping[str, int | str] = field(default_factory=dict)
    """Maps to use in place of new ones: a kernel id, a pin's path, or OBJECT/MAP."""
    record_types: Mapping[str, str] = field(default_factory=dict)
    """Struct of a ring's records by map name, kept for those who subscribe later."""
    skip: Collection[str] = ()
    """Programs that are left out."""
    also: Collection[str] = ()
    """Programs that are loaded although their section (SEC("?...")) turns them off."""
    functions: Mapping[str, str] = field(default_factory=dict)
    """What fentry, fexit, fmod_ret, lsm, tp_btf, iter and freplace programs are checked
    against, by their name: FUNCTION, or OBJECT/PROGRAM:FUNCTION of a loaded program, or a
    kernel id or a pin before the colon; nothing behind it: what the section says."""
    metrics: Sequence[objects_pb2.Metric] = ()
    """What of the maps the daemon shows as metrics, see `bpfctl.metrics`."""
    log_level: int = 0
    """Verifier log of every program: 0 of refused ones only, 1, 2 or 4 (statistics)."""

    def options(self, elf: bytes) -> objects_pb2.LoadOptions:
        """These settings on the wire, for the object in `elf`; raises InvalidArgument."""
        from bpfctl.references import map_ref
        from bpfd.v1 import objects_pb2

        options = objects_pb2.LoadOptions(log_level=self.log_level)
        for name in {**self.map_entries, **self.reuse, **self.record_types}:
            setting = options.maps.add(name=name, record_type=self.record_types.get(name, ""))
            if name in self.map_entries:
                entries = self.map_entries[name]
                if not 0 < entries < 2**32:
                    raise InvalidArgument(f"size of map {name}", f"{entries} is out of range")
                setting.max_entries = entries
            if name in self.reuse:
                ref = map_ref(self.reuse[name])
                if ref is None:
                    raise InvalidArgument(
                        f"map {name}",
                        f"{self.reuse[name]!r} is not a kernel id, a pin's path or OBJECT/MAP",
                    )
                setting.reuse.CopyFrom(ref)
        programs = {
            name: options.programs.add(name=name)
            for name in dict.fromkeys([*self.skip, *self.also, *self.functions])
        }
        for name in self.skip:
            programs[name].load = False
        for name in self.also:
            programs[name].load = True
        for name, text in self.functions.items():
            _set_function(programs[name], text)
        if self.constants:
            _add_constants(options, elf, self.constants)
        return options


def _set_function(setting: objects_pb2.ProgramSetting, text: str) -> None:
    from bpfctl.references import program_ref

    where, colon, setting.attach_function = text.rpartition(":")
    if not colon and text and "/" not in text:
        return
    ref = program_ref(where) if where else None
    if ref is None:
        raise InvalidArgument(
            f"program {setting.name}",
            f"{text!r} is not FUNCTION, OBJECT/PROGRAM:FUNCTION, ID:FUNCTION or PIN:...",
        )
    setting.attach_program.CopyFrom(ref)


def _add_constants(
    options: objects_pb2.LoadOptions, elf: bytes, constants: Mapping[str, ConstantValue]
) -> None:
    from bpfctl.elf import InvalidObject, ObjectFile

    try:
        parsed = ObjectFile.parse(elf)
        for name, value in constants.items():
            variable = parsed.variable(name)
            if not isinstance(value, bytes):
                value = parsed.encode(name, value)
            elif len(value) != variable.size:
                raise ValueError(f"{name} has {variable.size} bytes, not {len(value)}")
            options.constants.add(map=variable.map, offset=variable.offset, value=value)
    except InvalidObject as error:
        raise InvalidArgument("object", str(error)) from None
    except (LookupError, ValueError) as error:
        raise InvalidArgument("constant", str(error.args[0])) from None


def check_size(elf: bytes, limit: int) -> None:
    """Raise LimitExceeded where a target would refuse the object; `limit` 0: unknown."""
    if limit and len(elf) > limit:
        raise LimitExceeded(
            "the size of an object",
            limit,
            len(elf),
            hint="is this a BPF object? Strip its DWARF",
        )


class LoadedObject:
    """An object that the daemon holds, with its programs, maps and links.

    As a context manager it is unloaded at the end.
    """

    def __init__(
        self,
        target: Target,
        message: objects_pb2.Object,
        session: Session | None = None,
        logs: Collection[objects_pb2.ProgramLog] = (),
        warnings: Collection[str] = (),
    ) -> None:
        self.target = target
        self.message = message
        """As the daemon said it when it was asked last."""
        self.session = session
        self.logs = list(logs)
        """With a log level: what the verifier said of each program."""
        self.warnings = list(warnings)

    @property
    def name(self) -> str:
        """Unique in the daemon."""
        return self.message.name

    @property
    def programs(self) -> dict[str, objects_pb2.ObjectProgram]:
        """By the name of the C function."""
        return {program.name: program for program in self.message.programs}

    @property
    def maps(self) -> dict[str, objects_pb2.ObjectMap]:
        """By full name."""
        return {entry.name: entry for entry in self.message.maps}

    def refresh(self) -> None:
        """Ask the daemon again."""
        self.message = self.target.object(self.name).message

    def program(self, name: str) -> common_pb2.ProgramRef:
        """Reference of a program; raises NotFound."""
        from bpfd.v1 import common_pb2

        if name not in self.programs:
            raise _no_member("program", name, self.name, self.programs)
        return common_pb2.ProgramRef(
            member=common_pb2.ObjectMember(object=self.name, name=name)
        )

    def map(self, name: str) -> Map:
        """A map of the object by its full name; raises NotFound."""
        if name not in self.maps:
            raise _no_member("map", name, self.name, self.maps)
        return self.target.map(f"{self.name}/{name}")

    def attach(
        self, program: str, point: str | attach_pb2.AttachPoint, name: str = ""
    ) -> objects_pb2.Link:
        """Attach a program; the link lives as long as the object.

        `point` is an attach point or its text, as `bpfctl attach` takes it.
        """
        return self.target.attach(self.program(program), point, name=name, session=self.session)

    def unload(self) -> list[str]:
        """Detach its links and drop it; gives the names of the links."""
        return self.target.unload(self.name)

    def __enter__(self) -> LoadedObject:
        return self

    def __exit__(self, *_: object) -> None:
        import contextlib

        with contextlib.suppress(NotFound):
            self.unload()


def _no_member(kind: str, name: str, owner: str, known: Collection[str]) -> NotFound:
    import difflib

    near = difflib.get_close_matches(name, known, 3)
    hint = f"object {owner} has {', '.join(sorted(known)) or 'none'}"
    return NotFound(kind, name, near, hint)
