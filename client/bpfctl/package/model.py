# SPDX-License-Identifier: Apache-2.0
"""What a `package.toml` says, as frozen dataclasses."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PARAMETERS = ("interface", "cgroup", "netns", "pid", "binary", "function")
"""What may stand in braces in a program's `attach`."""

NOT_ATTACHED = "none"
"""`attach` of a program that is loaded and never attached."""

_PARAMETER = re.compile(r"\{([^{}]*)\}")
INTEGER = re.compile(r"([us])(8|16|32|64)")

Value = bool | int | str


class PackageError(ValueError):
    """A package is missing or its `package.toml` is wrong; the text names file and key."""


@dataclass(frozen=True)
class Program:
    """A program of the package and where it goes."""

    name: str
    description: str
    attach: str | None
    """`--attach` text with parameters in braces; None: as its section says."""
    enabled: bool = True

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names in braces, in order, each once."""
        return tuple(dict.fromkeys(_PARAMETER.findall(self.attach or "")))

    @property
    def attached(self) -> bool:
        """False for programs that only others call."""
        return self.attach != NOT_ATTACHED

    def attach_text(self, parameters: Mapping[str, str]) -> str | None:
        """The `--attach` text with the parameters filled in; None: as its section says.

        Raises PackageError when a parameter has no value.
        """
        missing = [name for name in self.parameters if not parameters.get(name)]
        if missing:
            wanted = " ".join(f"-p {name}=..." for name in missing)
            raise PackageError(
                f"program {self.name} is attached to {self.attach}: add {wanted}"
            )
        if self.attach is None:
            return None
        return _PARAMETER.sub(lambda match: parameters[match[1]], self.attach)


@dataclass(frozen=True)
class Map:
    """A map that users of the package read or write."""

    name: str
    description: str
    size: str | None
    """Name of the setting that gives `max_entries`."""


@dataclass(frozen=True)
class Setting:
    """Something a user may choose before the load."""

    name: str
    description: str
    type: str
    constant: str | None
    """Global variable; None: the setting is the size of maps."""
    default: Value | None
    """None: what the source says."""
    minimum: int | None
    maximum: int | None

    def parse(self, text: str) -> Value:
        """The value that a user typed; PackageError when type or range do not fit."""
        if self.type == "text":
            return self.check(text)
        if self.type == "bool":
            words = {"true": True, "1": True, "yes": True, "on": True}
            words |= {"false": False, "0": False, "no": False, "off": False}
            if text.lower() not in words:
                raise PackageError(f"setting {self.name} is true or false, not {text!r}")
            return words[text.lower()]
        try:
            return self.check(int(text.replace("_", ""), 0))
        except ValueError as error:
            if isinstance(error, PackageError):
                raise
            raise PackageError(f"setting {self.name} is a number, not {text!r}") from None

    def check(self, value: Value) -> Value:
        """The value itself if it is of the setting's type and in range."""
        kind = {"bool": bool, "text": str}.get(self.type, int)
        if type(value) is not kind:
            raise PackageError(f"setting {self.name} has type {self.type}, not {value!r}")
        if isinstance(value, int) and not isinstance(value, bool):
            low, high = self.bounds
            if not low <= value <= high:
                raise PackageError(f"setting {self.name} is {low} to {high}, not {value}")
        return value

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value, both allowed; integers only."""
        low, high = limits(self.type)
        return (
            low if self.minimum is None else self.minimum,
            high if self.maximum is None else self.maximum,
        )


@dataclass(frozen=True)
class Events:
    """Records of one type in a ring buffer or perf event array."""

    name: str
    description: str
    map: str
    type: str
    lost: str | None
    """Map of counters of records that found the ring full."""


@dataclass(frozen=True)
class Feature:
    """A feature of the target's kernel that the package uses."""

    name: str
    alternatives: tuple[str, ...]
    required: bool
    why: str

    def met_by(self, supported: Iterable[str]) -> bool:
        """Whether one of the names is among the target's."""
        return not {self.name, *self.alternatives}.isdisjoint(supported)


@dataclass(frozen=True)
class Choice:
    """One way to do what an alternative is about."""

    name: str
    needs: tuple[str, ...]
    """What a target must have, see `bpfctl.preflight.declared`; none: it does anywhere."""
    programs: tuple[str, ...]
    """Programs that are loaded with this choice alone."""
    defines: tuple[str, ...]
    """Macros for the compiler: NAME or NAME=VALUE."""


@dataclass(frozen=True)
class Alternative:
    """Several ways to do the same thing, the best first."""

    name: str
    description: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class View:
    """How entries of a map are shown in the terminal."""

    name: str
    kind: str
    """"histogram" or "table"."""
    map: str
    description: str
    keys: tuple[str, ...]
    """Members of the key that tell rows apart, in order; none: all."""
    unit: str
    """Of what is counted: one of `views.UNITS`; "": a plain number."""
    step: int | str
    """Histograms: width of a slot in `unit`, or the setting that has it; 0: powers of two."""
    sort: str = ""
    """Tables: the column by which rows are sorted, the largest first; "": the first number."""


@dataclass(frozen=True)
class Metric:
    """What of a map the daemon shows as a metric."""

    name: str
    type: str
    """"counter", "gauge" or "histogram"."""
    map: str
    help: str
    value: str
    """Member of the value with the number or slots; "": `slots`, or the value itself."""
    labels: tuple[tuple[str, str], ...]
    """(label, member of the key); of a key that is no struct the one member is "key"."""
    unit: str
    """Of what is in the map, one of `views.UNITS`; "": plain numbers."""
    step: int | str
    """Histograms: as of a view."""


@dataclass(frozen=True)
class Resolved:
    """What is written before the load."""

    constants: Mapping[str, Value]
    """By variable name."""
    sizes: Mapping[str, int]
    """max_entries by map name."""
    values: Mapping[str, Value] = field(default_factory=dict)
    """By the setting's own name, those that are written."""


@dataclass(frozen=True)
class Package:
    """A package as its `package.toml` describes it."""

    folder: Path
    name: str
    description: str
    version: str
    license: str
    source: str
    variants: Mapping[str, str]
    programs: tuple[Program, ...]
    maps: tuple[Map, ...]
    settings: tuple[Setting, ...]
    events: tuple[Events, ...]
    features: tuple[Feature, ...]
    alternatives: tuple[Alternative, ...] = ()
    views: tuple[View, ...] = ()
    metrics: tuple[Metric, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """What must be given to attach the enabled programs, each once."""
        names = [name for program in self.programs for name in program.parameters]
        return tuple(dict.fromkeys(names))

    def source_path(self, variant: str | None = None) -> Path:
        """The C file, or that of a variant; PackageError for a variant that is not there."""
        if variant is None:
            return self.folder / self.source
        if variant not in self.variants:
            raise PackageError(
                f"package {self.name} has no variant {variant!r}{near(variant, self.variants)}"
            )
        return self.folder / self.variants[variant]

    def program(self, name: str) -> Program | None:
        """The program of that name, if package.toml lists it."""
        return next((program for program in self.programs if program.name == name), None)

    def resolve(self, values: Mapping[str, str]) -> Resolved:
        """Constants and map sizes from texts that a user typed, with defaults filled in.

        Raises PackageError for an unknown setting and for a value of the wrong type or range.
        """
        known = {setting.name: setting for setting in self.settings}
        for name in values:
            if name not in known:
                raise PackageError(
                    f"package {self.name} has no setting {name!r}{near(name, known)}"
                )
        constants: dict[str, Value] = {}
        sizes: dict[str, int] = {}
        written: dict[str, Value] = {}
        for setting in self.settings:
            given = values.get(setting.name)
            value = setting.default if given is None else setting.parse(given)
            if value is None:
                continue
            written[setting.name] = value
            if setting.constant is not None:
                constants[setting.constant] = value
            else:
                of_size = [entry.name for entry in self.maps if entry.size == setting.name]
                sizes.update(dict.fromkeys(of_size, int(value)))
        return Resolved(constants, sizes, written)


def limits(kind: str) -> tuple[int, int]:
    """Smallest and largest value of an integer type."""
    match = INTEGER.fullmatch(kind)
    if not match:
        raise PackageError(f"{kind} has no range")
    bits = int(match[2])
    return (0, 2**bits - 1) if match[1] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def near(word: str, known: Iterable[str]) -> str:
    """A half sentence with the names that are near; empty: none is."""
    names = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"; did you mean {', '.join(names)}?" if names else ""
