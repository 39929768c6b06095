# SPDX-License-Identifier: Apache-2.0
"""Fields of a tracepoint, from the text of its format file.

The format is described in Documentation/trace/events.rst of the kernel, "Event formats".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .values import CType, Shape, integer, text_pointer

_LINE = re.compile(
    r"\tfield:(?P<type>.*?)\s*(?P<name>\w+)(?P<array>\[[^\]]*\])?;\s*offset:(?P<offset>\d+);"
    r"\s*size:(?P<size>\d+);\s*signed:(?P<signed>[01]);"
)
COMMON_BYTES = 8
"""Fields common_* that every record begins with."""

Storage = Literal["plain", "text", "bytes", "data_loc", "rel_loc"]


@dataclass(frozen=True)
class Field:
    """A field of the record."""

    name: str
    type: CType
    offset: int
    size: int
    storage: Storage = "plain"
    """text and bytes are arrays in place; data_loc and rel_loc say where the text is."""


def parse(text: str, pointer_size: int) -> list[Field]:
    """The fields, without the common ones; what is not understood is left out. Pure."""
    found = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None or match["name"].startswith("common_"):
            continue
        name, declared = match["name"], match["type"].strip()
        offset, size = int(match["offset"]), int(match["size"])
        signed = match["signed"] == "1"
        if declared.startswith(("__data_loc", "__rel_loc")):
            storage: Storage = "rel_loc" if declared.startswith("__rel_loc") else "data_loc"
            if "char[]" in declared.replace(" ", ""):
                pointed = text_pointer(pointer_size)
                found.append(Field(name, pointed, offset, size, storage))
            continue
        if match["array"] is not None:
            plain = declared.split()[-1] == "char" and "unsigned" not in declared
            kind = CType("array", size, text=f"{declared}{match['array']}")
            found.append(Field(name, kind, offset, size, "text" if plain else "bytes"))
        elif declared.endswith("*"):
            kind = CType("pointer", size, text=declared)
            if re.search(r"\bchar\s*\*$", declared) and declared.count("*") == 1:
                kind = text_pointer(size)
            found.append(Field(name, kind, offset, size))
        elif size in (1, 2, 4, 8):
            shape: Shape = "bool" if declared == "bool" else "int"
            kind = (
                CType(shape, size, signed, declared)
                if shape == "bool"
                else integer(size, signed, declared)
            )
            found.append(Field(name, kind, offset, size))
    return found
