# SPDX-License-Identifier: Apache-2.0
"""Which libraries of a tree a program needs to run elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import ArchiveError
from .tree import LIBRARY_FOLDERS


@dataclass(frozen=True)
class Needs:
    """What an ELF file asks of the dynamic loader."""

    machine: str
    """ELF machine without its prefix: "AARCH64"."""
    interpreter: str
    """Path of the loader; empty for libraries and static programs."""
    libraries: tuple[str, ...]
    """Names of DT_NEEDED."""


def needs(path: Path) -> Needs | None:
    """What the file asks for; None: it is no ELF file."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile
    from elftools.elf.segments import InterpSegment

    interpreter = ""
    libraries: list[str] = []
    with path.open("rb") as file:
        try:
            elf = ELFFile(file)
            for segment in elf.iter_segments():
                if isinstance(segment, InterpSegment):
                    interpreter = segment.get_interp_name()
                elif isinstance(segment, DynamicSegment):
                    tags = segment.iter_tags("DT_NEEDED")
                    libraries += [tag.needed for tag in tags]  # type: ignore[attr-defined]
        except ELFError:
            return None
        return Needs(
            elf["e_machine"].removeprefix("EM_"), interpreter, tuple(dict.fromkeys(libraries))
        )


def closure(
    files: Iterable[Path], root: Path, triplet: str, further: Iterable[Path] = ()
) -> dict[str, Path]:
    """The libraries and the loader that these ELF files need, by name, out of a tree.

    `further` are folders to look into first. Files that are no ELF files need nothing.
    Raises ArchiveError for a library that the tree does not have.
    """
    folders = [
        *further,
        *(root / folder.format(triplet=triplet) for folder in LIBRARY_FOLDERS),
    ]
    found: dict[str, Path] = {}
    todo = list(files)
    while todo:
        file = todo.pop()
        asked = needs(file)
        if asked is None:
            continue
        names = [*asked.libraries]
        if asked.interpreter:
            names.append(Path(asked.interpreter).name)
        for name in names:
            if name not in found:
                found[name] = _library(name, asked.machine, folders, file)
                todo.append(found[name])
    return dict(sorted(found.items()))


def _library(name: str, machine: str, folders: list[Path], wanted_by: Path) -> Path:
    for folder in folders:
        path = folder / name
        if path.exists():
            real = path.resolve()
            asked = needs(real)
            if asked is not None and asked.machine == machine:
                return real
    raise ArchiveError(f"{wanted_by.name} needs {name}, which is in none of the packages")
