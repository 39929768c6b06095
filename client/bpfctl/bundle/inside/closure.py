# SPDX-License-Identifier: Apache-2.0
"""All modules that a set of modules needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .imports import Import, imports_of

_ALIASES = {"collections.abc": "_collections_abc", "os.path": "posixpath"}
"""Modules that others put into sys.modules."""


@dataclass(frozen=True)
class Place:
    """A folder of modules, and what of them is followed."""

    name: str
    folder: Path
    later: bool = True
    """Whether what functions import counts too. In the standard library it does not: that
    is for rare uses, and would be most of the library."""
    extensions: Path | None = None
    """Another folder for extension modules, where a top-level one's file stands."""


@dataclass(frozen=True)
class Module:
    """A module's file."""

    name: str
    place: str
    file: Path
    is_package: bool = False

    @property
    def is_source(self) -> bool:
        return self.file.suffix == ".py"


@dataclass
class Closure:
    """What was found, by name, and what was not."""

    found: dict[str, Module] = field(default_factory=dict)
    missing: set[tuple[str, str]] = field(default_factory=set)
    """(module, what it imports at once and cannot do without)"""


class Finder:
    """Looks for modules in places, in their order, and collects what they import."""

    def __init__(
        self, places: Iterable[Place], builtin: Iterable[str], never: Iterable[str]
    ) -> None:
        self._places = list(places)
        self._builtin = frozenset(builtin)
        self._never = frozenset(never)
        self.closure = Closure()

    def add(self, name: str) -> bool:
        """Adds a module, its packages and all they need; False: there is no such module."""
        name = _ALIASES.get(name, name)
        parts = name.split(".")
        if self._is_left_out(name):
            return False
        if parts[0] in self._builtin:
            return len(parts) == 1
        return all(self._add_one(".".join(parts[:end])) for end in range(1, len(parts) + 1))

    def _add_one(self, name: str) -> bool:
        if name in self.closure.found:
            return True
        found = self._find(name)
        if found is None:
            # A folder without __init__.py, as `google` is, has no file to add.
            return any((each.folder / name.replace(".", "/")).is_dir() for each in self._places)
        place, module = found
        self.closure.found[name] = module
        if module.is_source:
            self._follow(module, place)
        return True

    def _follow(self, module: Module, place: Place) -> None:
        for each in imports_of(module.file.read_bytes(), module.name, module.is_package):
            if (each.later and not place.later) or self._is_left_out(each.name):
                continue
            if not self.add(each.name):
                if not each.optional and self._counts(each, place):
                    self.closure.missing.add((module.name, each.name))
            elif each.attribute not in ("", "*"):
                self._add_attribute(f"{each.name}.{each.attribute}")

    def _is_left_out(self, name: str) -> bool:
        return name in self._never or name.partition(".")[0] in self._never

    def _counts(self, missing: Import, place: Place) -> bool:
        """The daemon's imports must all be met, others' functions may be for other systems,
        and the standard library knows what it does."""
        return place is self._places[0] or (place.later and not missing.later)

    def _add_attribute(self, name: str) -> None:
        """`from package import name`, which may or may not be a module."""
        if self._is_left_out(name):
            return
        parent = self.closure.found.get(name.rpartition(".")[0])
        if (parent is None or parent.is_package) and self._find(name) is not None:
            self.add(name)

    def _find(self, name: str) -> tuple[Place, Module] | None:
        for place in self._places:
            file = _file(place, name)
            if file is not None:
                return place, Module(name, place.name, file, file.name == "__init__.py")
        return None


def _file(place: Place, name: str) -> Path | None:
    path = place.folder.joinpath(*name.split("."))
    for candidate in (path / "__init__.py", path.with_name(path.name + ".py")):
        if candidate.is_file():
            return candidate
    folder = path.parent if "." in name or place.extensions is None else place.extensions
    return next(iter(sorted(folder.glob(f"{path.name}.*so"))), None)


def modules_below(folder: Path, package: str) -> list[str]:
    """Names of all modules of a package in `folder`, sorted."""
    found = []
    for file in (folder / package).rglob("*.py"):
        parts = file.relative_to(folder).with_suffix("").parts
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return sorted(found)
