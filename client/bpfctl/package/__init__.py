# SPDX-License-Identifier: Apache-2.0
"""BPF program packages: a folder with C sources and one `package.toml`.

The format is written down in `docs/design/005-package-toml.md`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from .agreement import check
from .model import (
    NOT_ATTACHED,
    PARAMETERS,
    Alternative,
    Choice,
    Events,
    Feature,
    Map,
    Metric,
    Package,
    PackageError,
    Program,
    Resolved,
    Setting,
    Value,
    View,
    near,
)
from .reader import read

__all__ = [
    "NOT_ATTACHED",
    "PARAMETERS",
    "Alternative",
    "Choice",
    "Events",
    "Feature",
    "Map",
    "Metric",
    "Package",
    "PackageError",
    "Program",
    "Resolved",
    "Setting",
    "Value",
    "View",
    "check",
    "find_package",
    "load_package",
    "packages",
]

MAX_FILE_BYTES = 1 << 20


def load_package(name_or_folder: str | Path) -> Package:
    """Read and check a package; PackageError when it is missing or wrong."""
    folder = find_package(name_or_folder)
    path = folder / "package.toml"
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PackageError(f"{path}: {error.strerror}; a package needs this file") from None
    if len(raw) > MAX_FILE_BYTES:
        raise PackageError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    try:
        table = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PackageError(f"{path}: {error}") from None
    try:
        return read(folder.resolve(), table)
    except PackageError as error:
        raise PackageError(f"{path}: {error}") from None


def find_package(name_or_folder: str | Path) -> Path:
    """The folder of a package, by its path or by its name; PackageError when there is none."""
    text = str(name_or_folder)
    if isinstance(name_or_folder, Path) or "/" in text or text == ".":
        folder = Path(text)
        if folder.is_dir():
            return folder
        raise PackageError(f"{text}: no such folder")
    names = []
    for folder in packages():
        if folder.name == text:
            return folder
        names.append(folder.name)
    raise PackageError(
        f"there is no package {text!r}{near(text, names)}"
        " (a path to a package's folder has a / in it)"
    )


def packages() -> Iterator[Path]:
    """Folders of all packages that can be named, those of the checkout first."""
    here = Path(__file__).resolve().parent.parent
    seen = set()
    for root in (here.parent.parent / "bpf", here / "bpf"):
        for path in sorted(root.glob("*/package.toml")):
            if path.parent.name not in seen:
                seen.add(path.parent.name)
                yield path.parent
