# SPDX-License-Identifier: Apache-2.0
"""The function of a binary that a request means."""

from __future__ import annotations

from bpfd import errors
from bpfd.attach.failure import near
from bpfd.kernel.symbols import ElfFile, Function

_LOCAL, _GLOBAL, _WEAK = 0, 1, 2
_ANCHORS = {_GLOBAL: 0, _WEAK: 1, _LOCAL: 2}


def resolve(
    file: ElfFile,
    path: str,
    name: str,
    offset: int,
    ret: bool,
    field: str = "uprobe.function",
) -> int:
    """The file offset of a byte of a function; `path` and `field` are for messages.

    "name@VERSION" chooses a symbol version, else the default one is taken; a global
    function goes before a weak and that before a local one of the same name. Raises
    NotFound, InvalidArgument, and BadElf.
    """
    if not name or "\0" in name:
        raise errors.InvalidArgument(field, "is empty or has a zero byte")
    found = file.functions(name)
    defined = [each for each in found if each.defined]
    if not defined:
        raise _missing(file, path, name, imported=bool(found))
    chosen = _chosen(defined, path, name, field)
    if chosen.indirect:
        raise errors.InvalidArgument(
            field,
            f"{name} of {path} is chosen for the CPU when a process starts (IFUNC): a probe "
            "there sees nothing; name one of its variants"
            + _listed(near(name, file.function_names())),
        )
    if chosen.file_offset < 0:
        raise errors.InvalidArgument(field, f"{path} has no code for {name}")
    if ret and offset:
        raise errors.InvalidArgument(
            "uprobe.offset", "a return probe goes at the function's start"
        )
    if offset and chosen.size and offset >= chosen.size:
        raise errors.InvalidArgument(
            "uprobe.offset", f"{name} of {path} has only {chosen.size} bytes"
        )
    return chosen.file_offset + offset


def _chosen(functions: list[Function], path: str, name: str, field: str) -> Function:
    defaults = [each for each in functions if each.default] or functions
    best = min(_ANCHORS.get(each.binding, 3) for each in defaults)
    left = [each for each in defaults if _ANCHORS.get(each.binding, 3) == best]
    offsets = sorted({each.file_offset for each in left})
    if len(offsets) > 1:
        versions = sorted({f"{each.name}@{each.version}" for each in left if each.version})
        places = ", ".join(hex(each) for each in offsets[:8])
        raise errors.InvalidArgument(
            field,
            f"{path} has {len(offsets)} functions {name}; "
            + (f"name one of {', '.join(versions)}, or " if versions else "")
            + f"give file_offset: {places}",
        )
    return left[0]


def _missing(file: ElfFile, path: str, name: str, imported: bool) -> errors.NotFound:
    names = list(file.function_names())
    if imported:
        hint = f"{path} only imports it; probe the library that defines it"
    elif not names:
        hint = f"{path} has no symbols; give file_offset"
    else:
        hint = f"{path} has {len(names)} named functions"
    return errors.NotFound("function", name, near(name.partition("@")[0], names), hint)


def _listed(names: list[str]) -> str:
    return f" ({', '.join(names)})" if names else ", or a function that calls it"
