# SPDX-License-Identifier: Apache-2.0
"""The shared libraries that a program of another architecture needs, without running it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .errors import LabError


def closure(program: Path, folders: Sequence[Path]) -> tuple[Path, dict[str, Path]]:
    """A program's loader, and its libraries by the name they are asked for.

    `folders` are looked through in their order. Raises LabError for what is in none.
    """
    loader, needed = _dynamic(program)
    if loader is None:
        raise LabError(f"{program.name} is not linked with shared libraries")
    found: dict[str, Path] = {}
    todo = [loader, *needed]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        path = next((folder / name for folder in folders if (folder / name).exists()), None)
        if path is None:
            raise LabError(f"{program.name} needs {name}, and no package has it")
        found[name] = path.resolve()
        todo += _dynamic(path)[1]
    return found.pop(loader), found


def _dynamic(path: Path) -> tuple[str | None, list[str]]:
    """File name of the loader that an ELF file asks for, and of the libraries."""
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile
    from elftools.elf.segments import InterpSegment

    loader, needed = None, []
    with path.open("rb") as file:
        for segment in ELFFile(file).iter_segments():
            if isinstance(segment, InterpSegment):
                loader = segment.get_interp_name().rpartition("/")[2]
            elif isinstance(segment, DynamicSegment):
                tags = (tag for tag in segment.iter_tags() if tag.entry.d_tag == "DT_NEEDED")
                # The library gives tags such names when it reads them.
                needed = [tag.needed for tag in tags]  # type: ignore[attr-defined]
    return loader, needed
