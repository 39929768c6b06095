# SPDX-License-Identifier: Apache-2.0
"""From the tables of a `package.toml` to a checked `Package`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .metrics import metrics
from .model import (
    INTEGER,
    PARAMETERS,
    Alternative,
    Choice,
    Events,
    Feature,
    Map,
    Package,
    PackageError,
    Program,
    Setting,
    limits,
    near,
)
from .table import C_NAME, NAME, Table, unique
from .views import check_step, views

_CHOICE = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,63}")
_TEXT = re.compile(r"\S.{0,255}")
_DEFINE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(=.*)?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_TYPES = ("bool", *(f"{sign}{bits}" for sign in "us" for bits in (8, 16, 32, 64)), "text")


def read(folder: Path, raw: dict[str, Any]) -> Package:
    """The package of a parsed `package.toml`; PackageError names the key that is wrong."""
    top = Table("", raw)
    package = Package(
        folder=folder,
        name=top.name("name", NAME),
        description=top.take("description", str),
        version=top.name("version", _VERSION),
        license=top.take("license", str),
        source=_source(folder, "source", top.take("source", str)),
        variants={
            name: _source(folder, f"variants.{name}", file)
            for name, file in (top.take("variants", dict, needed=False) or {}).items()
        },
        programs=tuple(_program(table) for table in top.tables("programs")),
        maps=tuple(_map(table) for table in top.tables("maps")),
        settings=_settings(top, raw),
        events=tuple(_events(table) for table in top.tables("events")),
        features=tuple(_feature(table) for table in top.tables("features")),
        alternatives=tuple(_alternative(table) for table in top.tables("alternatives")),
        views=views(top),
        metrics=metrics(top),
    )
    top.done()
    if package.name != folder.name:
        raise PackageError(f"name is {package.name!r} and the folder is {folder.name!r}")
    unique("programs", [program.name for program in package.programs])
    unique("maps", [entry.name for entry in package.maps])
    unique("settings", [setting.name for setting in package.settings])
    unique("events", [events.name for events in package.events])
    unique("alternatives", [item.name for item in package.alternatives])
    unique("views", [view.name for view in package.views])
    settings = {setting.name: setting for setting in package.settings}
    for view in package.views:
        check_step(f"views[{view.name}].step", view.step, settings)
    unique("metrics", [metric.name for metric in package.metrics])
    for metric in package.metrics:
        check_step(f"metrics[{metric.name}].step", metric.step, settings)
    for entry in package.maps:
        if entry.size is None:
            continue
        if entry.size not in settings:
            raise PackageError(
                f"maps[{entry.name}].size: there is no setting {entry.size!r}"
                f"{near(entry.size, settings)}"
            )
        if settings[entry.size].constant is not None:
            raise PackageError(
                f"settings[{entry.size}] is a constant and the size of map {entry.name}:"
                " it can be one of them"
            )
    return package


def _program(table: Table) -> Program:
    program = Program(
        name=table.name("name", C_NAME),
        description=table.take("description", str),
        attach=table.take("attach", str, needed=False),
        enabled=table.take("enabled", bool, needed=False) is not False,
    )
    table.done()
    for name in program.parameters:
        if name not in PARAMETERS:
            raise PackageError(
                f"{table.where}attach: unknown parameter {{{name}}}{near(name, PARAMETERS)}"
            )
    return program


def _map(table: Table) -> Map:
    entry = Map(
        name=table.name("name", C_NAME),
        description=table.take("description", str),
        size=table.take("size", str, needed=False),
    )
    table.done()
    return entry


def _settings(top: Table, raw: dict[str, Any]) -> tuple[Setting, ...]:
    maps = raw.get("maps")
    sizes = {entry.get("size") for entry in (maps if isinstance(maps, list) else []) if entry}
    return tuple(_setting(table, sizes) for table in top.tables("settings"))


def _setting(table: Table, sizes: set[object]) -> Setting:
    name = table.name("name", NAME)
    kind = table.take("type", str)
    if kind not in _TYPES:
        raise PackageError(f"{table.where}type {kind!r} is not one of {', '.join(_TYPES)}")
    description = table.take("description", str)
    constant = table.name("constant", C_NAME, needed=False)
    if constant is None and name not in sizes:
        constant = name
    if constant is None and not INTEGER.fullmatch(kind):
        raise PackageError(f"{table.where}type is {kind}, and the size of a map is an integer")
    table.asked.append("default")
    default = table.left.pop("default", None)
    minimum, maximum = _range(table, kind)
    table.done()
    setting = Setting(name, description, kind, constant, None, minimum, maximum)
    if default is not None:
        try:
            setting.check(default)
        except PackageError as error:
            raise PackageError(f"{table.where}default: {error}") from None
    return Setting(name, description, kind, constant, default, minimum, maximum)


def _range(table: Table, kind: str) -> tuple[int | None, int | None]:
    value = table.take("range", list, needed=False)
    if value is None:
        return None, None
    if not INTEGER.fullmatch(kind):
        raise PackageError(f"{table.where}range is for integers, and the type is {kind}")
    if len(value) != 2 or any(type(end) is not int for end in value) or value[0] > value[1]:
        raise PackageError(f"{table.where}range is not [smallest, largest]: {value!r}")
    low, high = limits(kind)
    if value[0] < low or value[1] > high:
        raise PackageError(f"{table.where}range {value!r} does not fit in {kind}")
    return value[0], value[1]


def _events(table: Table) -> Events:
    ring = table.name("map", C_NAME)
    events = Events(
        name=table.name("name", NAME, needed=False) or ring,
        description=table.take("description", str),
        map=ring,
        type=table.name("type", C_NAME),
        lost=table.name("lost", C_NAME, needed=False),
    )
    table.done()
    return events


def _feature(table: Table) -> Feature:
    alternatives = table.take("alternatives", list, needed=False) or []
    if any(not isinstance(entry, str) for entry in alternatives):
        raise PackageError(f"{table.where}alternatives is not a list of texts")
    feature = Feature(
        name=table.take("name", str),
        alternatives=tuple(alternatives),
        required=table.take("required", bool, needed=False) is not False,
        why=table.take("why", str),
    )
    table.done()
    return feature


def _alternative(table: Table) -> Alternative:
    alternative = Alternative(
        name=table.name("name", NAME),
        description=table.take("description", str),
        choices=tuple(_choice(each) for each in table.tables("choices")),
    )
    table.done()
    if len(alternative.choices) < 2:
        raise PackageError(f"{table.where}choices: there must be two or more")
    unique(f"{table.where}choices", [choice.name for choice in alternative.choices])
    return alternative


def _choice(table: Table) -> Choice:
    choice = Choice(
        name=table.name("name", _CHOICE),
        needs=table.texts("needs", _TEXT),
        programs=table.texts("programs", C_NAME),
        defines=table.texts("defines", _DEFINE),
    )
    table.done()
    return choice


def _source(folder: Path, key: str, file: object) -> str:
    if not isinstance(file, str) or "/" in file or not file.endswith(".c"):
        raise PackageError(f"{key} {file!r} is not a C file in the package's folder")
    if not (folder / file).is_file():
        raise PackageError(f"{key}: there is no file {file} in {folder}")
    return file
