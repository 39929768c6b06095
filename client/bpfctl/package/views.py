# SPDX-License-Identifier: Apache-2.0
"""The `[[views]]` of a `package.toml`: how maps are shown in the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from .model import INTEGER, PackageError, Setting, View, near
from .table import C_NAME, NAME, Table

KINDS = ("histogram", "table")

UNITS = ("ns", "us", "ms", "s", "bytes", "KiB", "MiB", "packets", "events")
"""What may be counted in; times and bytes are shown in the unit that fits."""


def views(top: Table) -> tuple[View, ...]:
    """All views of a package; PackageError names the key that is wrong."""
    return tuple(_view(table) for table in top.tables("views"))


def _view(table: Table) -> View:
    kind = table.take("kind", str)
    if kind not in KINDS:
        raise PackageError(f"{table.where}kind {kind!r} is not one of {', '.join(KINDS)}")
    shown = table.name("map", C_NAME)
    view = View(
        name=table.name("name", NAME, needed=False) or shown,
        kind=kind,
        map=shown,
        description=table.take("description", str),
        keys=table.texts("keys", C_NAME),
        unit=unit(table),
        step=step(table) if kind == "histogram" else 0,
        sort=table.name("sort", C_NAME, needed=False) or "" if kind == "table" else "",
    )
    table.done()
    return view


def unit(table: Table) -> str:
    """One of UNITS; "" where the table has none."""
    found = table.take("unit", str, needed=False) or ""
    if found and found not in UNITS:
        raise PackageError(f"{table.where}unit {found!r} is not one of {', '.join(UNITS)}")
    return str(found)


def step(table: Table) -> int | str:
    """Width of a histogram's slots or the setting that has it; 0: powers of 2."""
    table.asked.append("step")
    found = table.left.pop("step", 0)
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise PackageError(f"{table.where}step is not a number or a setting: {found!r}")
    if isinstance(found, int) and not 0 <= found < 2**63:
        raise PackageError(f"{table.where}step is out of range: {found}")
    return found


def check_step(where: str, found: int | str, settings: Mapping[str, Setting]) -> None:
    """Raises PackageError where `found` names no setting that is a number."""
    if isinstance(found, int):
        return
    if found not in settings:
        raise PackageError(f"{where}: there is no setting {found!r}{near(found, settings)}")
    if not INTEGER.fullmatch(settings[found].type):
        raise PackageError(f"{where}: setting {found} is no integer")
