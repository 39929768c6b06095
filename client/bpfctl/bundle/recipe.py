# SPDX-License-Identifier: Apache-2.0
"""The recipe of the bundle: `devices/bundle/daemon.toml`."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfctl import devices

from .errors import BundleError

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel."""

    name: str
    version: str
    sha256: tuple[str, ...]
    """Of its file for any architecture."""


@dataclass(frozen=True)
class Architecture:
    """One architecture that bundles are for."""

    name: str
    """Debian's word: "armhf"."""
    machine: str
    """The wheels' word: "armv7l"."""
    packages: tuple[str, ...] = ()
    """Debian's packages beside those of all architectures."""
    without: tuple[str, ...] = ()
    """Wheels that these packages stand in for."""


@dataclass(frozen=True)
class Recipe:
    """What a bundle is made of."""

    suite: str
    python: str
    """"3.13\""""
    packages: tuple[str, ...]
    libraries: tuple[str, ...]
    """Sonames that are opened at run time."""
    also: tuple[str, ...]
    """Modules that no import statement names."""
    never: tuple[str, ...]
    """Modules that are left out wherever they are imported."""
    wheels: tuple[Wheel, ...]
    architectures: dict[str, Architecture]
    digest: bytes
    """The file's content."""

    def architecture(self, name: str) -> Architecture:
        """Raises BundleError where there can be no bundle for it."""
        found = self.architectures.get(name)
        if found is None:
            known = ", ".join(self.architectures)
            raise BundleError(f"there is no bundle for {name!r}", f"architectures: {known}")
        return found


def path() -> Path:
    """The recipe that comes with bpfctl."""
    return devices.folder("bundle", "daemon.toml")


def load(file: Path | None = None) -> Recipe:
    """The recipe in a file; raises BundleError that names what is wrong in it."""
    file = file or path()
    try:
        raw = file.read_bytes()
        table = tomllib.loads(raw.decode())
    except (OSError, ValueError) as error:
        raise BundleError(f"{file}: {error}") from None
    try:
        return _recipe(table, raw)
    except (KeyError, TypeError, ValueError) as error:
        text = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise BundleError(f"{file}: {text}") from None


def _recipe(table: dict[str, Any], raw: bytes) -> Recipe:
    modules = _only(table["modules"], "modules", "also", "never")
    _only(
        table,
        "",
        "suite",
        "python",
        "packages",
        "libraries",
        "modules",
        "wheels",
        "architectures",
    )
    return Recipe(
        suite=_text(table, "suite"),
        python=_text(table, "python"),
        packages=_texts(table, "packages"),
        libraries=_texts(table, "libraries"),
        also=_texts(modules, "also"),
        never=_texts(modules, "never"),
        wheels=tuple(_wheel(each) for each in table["wheels"]),
        architectures={
            name: _architecture(name, each) for name, each in table["architectures"].items()
        },
        digest=raw,
    )


def _wheel(table: dict[str, Any]) -> Wheel:
    _only(table, "wheels", "name", "version", "sha256")
    wheel = Wheel(_text(table, "name"), _text(table, "version"), _texts(table, "sha256"))
    if not wheel.sha256 or not all(map(_SHA256.fullmatch, wheel.sha256)):
        raise ValueError(f"wheels: sha256 of {wheel.name} is not 64 hexadecimal digits each")
    return wheel


def _architecture(name: str, table: dict[str, Any]) -> Architecture:
    _only(table, f"architectures.{name}", "machine", "packages", "without")
    more = {key: _texts(table, key) for key in ("packages", "without") if key in table}
    return Architecture(name, _text(table, "machine"), **more)


def _only(table: dict[str, Any], where: str, *known: str) -> dict[str, Any]:
    for key in table:
        if key not in known:
            raise ValueError(f"{where + '.' if where else ''}{key} is an unknown key")
    return table


def _text(table: dict[str, Any], key: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} is not a text")
    return value


def _texts(table: dict[str, Any], key: str) -> tuple[str, ...]:
    value = table[key]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{key} is not a list of texts")
    return tuple(value)
