# SPDX-License-Identifier: Apache-2.0
"""Whether a package.toml and the object built from its source speak of the same things."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from .model import Package, PackageError, Setting, limits, near

if TYPE_CHECKING:
    from bpfctl.elf import ObjectFile


def check(package: Package, obj: ObjectFile) -> None:
    """Raises PackageError for the first name of the package that the object does not have."""
    programs = [program.name for program in obj.programs]
    maps = [entry.name for entry in obj.maps]
    for program in package.programs:
        _known(package, f"programs[{program.name}]", "program", program.name, programs)
    for item in package.alternatives:
        for choice in item.choices:
            where = f"alternatives[{item.name}].choices[{choice.name}].programs"
            for name in choice.programs:
                _known(package, where, "program", name, programs)
    for entry in package.maps:
        _known(package, f"maps[{entry.name}]", "map", entry.name, maps)
    for view in package.views:
        _known(package, f"views[{view.name}].map", "map", view.map, maps)
    for setting in package.settings:
        if setting.constant is not None:
            _check_constant(package, setting, setting.constant, obj)
    types = obj.types.struct_names() if obj.types is not None else set()
    for events in package.events:
        where = f"events[{events.name}]"
        _known(package, f"{where}.map", "map", events.map, maps)
        _known(package, f"{where}.type", "struct", events.type, types)
        if events.lost is not None:
            _known(package, f"{where}.lost", "map", events.lost, maps)
    if package.metrics:
        from bpfctl.metrics import describe

        values = package.resolve({}).values
        try:
            for metric in package.metrics:
                describe(metric, obj, values)
        except PackageError as error:
            raise PackageError(f"{package.folder / 'package.toml'}: {error}") from None


def _known(package: Package, where: str, what: str, name: str, there: Collection[str]) -> None:
    if name not in there:
        raise PackageError(
            f"{package.folder / 'package.toml'}: {where}: {package.source} has no {what}"
            f" {name!r}{near(name, there)}"
        )


def _check_constant(package: Package, setting: Setting, name: str, obj: ObjectFile) -> None:
    where = f"settings[{setting.name}].constant"
    _known(package, where, "global variable", name, obj.variables)
    size = obj.variables[name].size
    wanted = {"bool": 1}.get(setting.type)
    if wanted is None and setting.type != "text":
        low, high = limits(setting.type)
        wanted = (high - low).bit_length() // 8
    if wanted is not None and wanted != size:
        raise PackageError(
            f"{package.folder / 'package.toml'}: {where}: {name} has {size} bytes, and the type"
            f" {setting.type} has {wanted}"
        )
