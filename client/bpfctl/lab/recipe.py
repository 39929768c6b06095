# SPDX-License-Identifier: Apache-2.0
"""Recipes of virtual boards: the tables of `devices/lab/`, checked."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from bpfctl import devices
from bpfctl.config import config_dir
from bpfctl.errors import InvalidArgument, NotFound

T = TypeVar("T")


@dataclass(frozen=True)
class Machine:
    """How QEMU plays a board of one architecture."""

    program: str
    package: str
    """Debian's package of the program."""
    machine: str
    cpu: str
    console: str
    """The kernel's name of the serial port."""


@dataclass(frozen=True)
class System:
    """What all boards are made of beside the kernel."""

    suite: str
    packages: tuple[str, ...]
    adb_packages: tuple[str, ...]
    android_packages: tuple[str, ...]
    load: tuple[str, ...]
    """Kernel modules that are loaded at boot, in this order."""
    offer: tuple[str, ...]
    """Kernel modules that are there to be loaded."""
    applets: tuple[str, ...]
    android_applets: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """One board."""

    name: str
    summary: str
    arch: str
    """Debian's word: amd64, arm64, armhf, riscv64."""
    suite: str
    kernel: str
    """Debian's package that depends on the newest kernel of the suite."""
    series: str
    """The kernel's version as the recipe's name gives it; the suite may have moved on."""
    machine: Machine
    quirks: tuple[str, ...] = ()
    """What this kernel cannot do, and why."""
    modules: tuple[str, ...] = ()
    """Kernel modules beside those of the system."""
    memory: int = 256
    """MiB, when nothing else is asked for."""
    cpus: int = 1
    cmdline: str = ""
    """For the kernel, beside what every board gets."""
    where: Path = field(default=Path(), compare=False)

    def fits(self, release: str) -> bool:
        """Whether a kernel is of the series that the recipe is named for."""
        return release.startswith((f"{self.series}.", f"{self.series}-", f"{self.series}+"))


def folders() -> list[Path]:
    """Where recipes are looked for: the user's own, then those that come along."""
    return [config_dir() / "lab", devices.folder("lab")]


def recipes() -> dict[str, Recipe]:
    """All recipes by name, in the order of their names; the user's come first."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in folder.glob("*.toml"):
            found.setdefault(path.stem, path)
    return {name: read(found[name]) for name in sorted(found, key=_order)}


def find(name: str) -> Recipe:
    """The recipe of that name; raises NotFound."""
    for folder in folders():
        path = folder / f"{name}.toml"
        if "/" not in name and path.is_file():
            return read(path)
    import difflib

    names = [path.stem for folder in folders() for path in folder.glob("*.toml")]
    near = difflib.get_close_matches(name, names, 3)
    raise NotFound("board", name, near, "`bpfctl lab list` shows all")


def read(path: Path) -> Recipe:
    """The recipe in a file; raises InvalidArgument."""
    table = _table(path)
    arch = table.get("arch")
    machine = devices.folder("lab", "base", f"{arch}.toml")
    if not isinstance(arch, str) or not machine.is_file():
        known = ", ".join(sorted({"amd64", "arm64", "armhf", "riscv64"}))
        raise InvalidArgument(str(path), f"arch is not one of {known}")
    own = table.pop("machine", {})
    if not isinstance(own, dict):
        raise InvalidArgument(str(path), "machine is not a table")
    made = _make(Machine, {**_table(machine), **own}, path)
    return _make(Recipe, {**table, "name": path.stem, "machine": made, "where": path}, path)


@cache
def system() -> System:
    """What all boards have in common."""
    path = devices.folder("lab", "base", "system.toml")
    return _make(System, _table(path), path)


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidArgument(str(path), error.strerror or str(error)) from None
    except ValueError as error:
        raise InvalidArgument(str(path), f"not valid TOML: {error}") from None


_KINDS = {"str": str, "int": int, "tuple[str, ...]": list}


def _make(kind: type[T], table: dict[str, Any], path: Path) -> T:
    """A `kind` of a table that must have its fields and no others."""
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    for key, value in table.items():
        if key not in known:
            raise InvalidArgument(str(path), f"no such setting: {key}")
        wanted = _KINDS.get(str(known[key].type))
        strings = isinstance(value, list) and all(isinstance(each, str) for each in value)
        if wanted and (type(value) is not wanted or (wanted is list and not strings)):
            raise InvalidArgument(str(path), f"{key} has the wrong type")
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    try:
        return kind(**values)
    except TypeError:
        from dataclasses import MISSING

        needed = [
            name
            for name, item in known.items()
            if item.default is MISSING and name not in values
        ]
        raise InvalidArgument(str(path), f"{', '.join(needed)} is missing") from None


def _order(name: str) -> tuple[str, tuple[int, ...]]:
    """amd64-6.1 before amd64-6.12 before amd64-7.2."""
    arch, _, series = name.partition("-")
    return arch, tuple(int(part) for part in series.split(".") if part.isdigit())
