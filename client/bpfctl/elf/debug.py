# SPDX-License-Identifier: Apache-2.0
"""What .BTF and .BTF.ext say of an object: types of variables, source lines, CO-RE.

Layouts: kernel Documentation/bpf/btf.rst and include/uapi/linux/btf.h. Only what is needed
to place constants and to explain verifier logs; how values are shown is `bpfctl.btf`'s part.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from .container import InvalidObject

_MAGIC = 0xEB9F
_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FWD = 1, 2, 3, 4, 5, 6, 7
_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _FUNC, _FUNC_PROTO, _VAR = 8, 9, 10, 11, 12, 13, 14
_DATASEC, _FLOAT, _DECL_TAG, _TYPE_TAG, _ENUM64 = 15, 16, 17, 18, 19

_TAIL_BYTES = {_INT: 4, _ARRAY: 12, _VAR: 4, _DECL_TAG: 4}
_TAIL_BYTES_EACH = {
    _STRUCT: 12,
    _UNION: 12,
    _ENUM: 8,
    _FUNC_PROTO: 8,
    _DATASEC: 12,
    _ENUM64: 12,
}
_WRAPPERS = (_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG)

MAX_TYPES = 1 << 20


@dataclass(frozen=True)
class Line:
    """The source line that an instruction came from."""

    instruction: int
    """Index of the first 8-byte instruction in the section."""
    file: str
    line: int
    column: int
    """From 1; 0: unknown."""
    text: str


@dataclass(frozen=True)
class CoreRelocation:
    """A field, type or enumerator of the kernel that an instruction depends on."""

    instruction: int
    """Index of the 8-byte instruction in the section."""
    kind: int
    """Kernel's enum bpf_core_relo_kind."""
    what: str
    """In C's words: "struct task_struct.pid", "enumerator tcp_state.TCP_CLOSE"."""
    type_id: int = 0
    """The type in the object's BTF that `access` starts at."""
    access: str = ""
    """Indices of members from the type on, "0:3:1"; of an enumerator its own, else "0"."""


class TypeInfo:
    """A raw BTF blob, types decoded on demand."""

    def __init__(self, data: bytes, big_endian: bool) -> None:
        self._order = ">" if big_endian else "<"
        self._data = data
        try:
            magic, version, _, header, types, types_size, strings, strings_size = (
                struct.unpack_from(self._order + "HBBIIIII", data)
            )
        except struct.error:
            raise damaged("the .BTF section is cut off") from None
        if magic != _MAGIC or version != 1:
            raise damaged(f"the .BTF section has magic {magic:#x} and version {version}")
        if max(types + types_size, strings + strings_size) + header > len(data):
            raise damaged("the .BTF section is cut off")
        self._types = header + types
        self._types_end = self._types + types_size
        self._strings = data[header + strings : header + strings + strings_size]

    def text(self, offset: int) -> str:
        """The string at an offset of the string section."""
        if offset >= len(self._strings):
            raise damaged(f"string {offset} is outside of the .BTF section")
        end = self._strings.find(b"\0", offset)
        return self._strings[offset : end if end >= 0 else None].decode("utf-8", "replace")

    @cached_property
    def _offsets(self) -> list[int]:
        """Where each type starts, by type id."""
        offsets = [0]
        position = self._types
        info = struct.Struct(self._order + "I")
        while position < self._types_end:
            if position + 12 > self._types_end:
                raise damaged("the last type is cut off")
            (word,) = info.unpack_from(self._data, position + 4)
            kind, count = (word >> 24) & 0x1F, word & 0xFFFF
            if not 1 <= kind <= _ENUM64 or len(offsets) > MAX_TYPES:
                raise damaged(f"type {len(offsets)} is of the unknown kind {kind}")
            offsets.append(position)
            position += 12 + _TAIL_BYTES.get(kind, 0) + _TAIL_BYTES_EACH.get(kind, 0) * count
        if position > self._types_end:
            raise damaged("the last type is cut off")
        return offsets

    def _head(self, type_id: int) -> tuple[int, int, bool, str, int]:
        """(kind, count, kind_flag, name, size or type)."""
        if not 0 < type_id < len(self._offsets):
            raise damaged(f"there is no type {type_id}")
        name, info, other = struct.unpack_from(
            self._order + "III", self._data, self._offsets[type_id]
        )
        return (info >> 24) & 0x1F, info & 0xFFFF, bool(info >> 31), self.text(name), other

    def _tail(self, type_id: int, format: str, index: int = 0) -> tuple[int, ...]:
        layout = struct.Struct(self._order + format)
        return layout.unpack_from(self._data, self._offsets[type_id] + 12 + index * layout.size)

    def variables(self) -> dict[str, int]:
        """Type ids of global variables by name, those of other objects (extern) left out."""
        found = {}
        for type_id in range(1, len(self._offsets)):
            kind, _, _, name, type_of = self._head(type_id)
            if kind == _VAR and self._tail(type_id, "I")[0] != 2:
                found[name] = type_of
        return found

    def struct_names(self) -> set[str]:
        """Names of all structs."""
        heads = map(self._head, range(1, len(self._offsets)))
        return {name for kind, _, _, name, _ in heads if kind == _STRUCT and name}

    def section_variables(self, section: str) -> list[str]:
        """Names of the variables of one DATASEC, extern ones too."""
        for type_id in range(1, len(self._offsets)):
            kind, count, _, name, _ = self._head(type_id)
            if kind == _DATASEC and name == section:
                return [
                    self._head(self._tail(type_id, "III", index)[0])[3]
                    for index in range(count)
                ]
        return []

    def _plain(self, type_id: int) -> int:
        """The type behind typedefs and qualifiers."""
        for _ in range(64):
            if type_id == 0:
                return 0
            kind, _, _, _, other = self._head(type_id)
            if kind not in _WRAPPERS:
                return type_id
            type_id = other
        raise damaged(f"type {type_id} is a typedef of itself")

    def describe(self, type_id: int) -> str:
        """The type as C writes it."""
        if type_id == 0:
            return "void"
        kind, _, _, name, _ = self._head(type_id)
        words = {_STRUCT: "struct ", _UNION: "union ", _ENUM: "enum ", _ENUM64: "enum "}
        if kind == _FWD:
            return f"struct {name}"
        return words.get(kind, "") + (name or "(anonymous)")

    def describe_access(self, type_id: int, access: str, kind: int) -> str:
        """What a CO-RE relocation stands for, in C's words.

        `access` is the relocation's string: "0:3:1" is the second member of the fourth.
        """
        path = [
            int(step) for step in access.split(":")[:64] if re.fullmatch("[0-9]{1,9}", step)
        ]
        plain = self._plain(type_id)
        if 6 <= kind <= 9 or kind == 12:  # BPF_CORE_TYPE_ID_LOCAL .. TYPE_SIZE, TYPE_MATCHES
            return f"type {self.describe(type_id)}"
        if kind in (10, 11):  # BPF_CORE_ENUMVAL_EXISTS, ENUMVAL_VALUE
            return f"enumerator {self._enumerator(plain, path[0] if path else 0)}"
        text = self.describe(type_id)
        for step in path[1:]:
            base, _, _, _, _ = self._head(plain) if plain else (0, 0, False, "", 0)
            if base == _ARRAY:
                text += f"[{step}]"
                plain = self._plain(self._tail(plain, "III")[0])
            elif base in (_STRUCT, _UNION):
                name, member = self._member(plain, step)
                text += f".{name}" if name else ""
                plain = self._plain(member)
            else:
                break
        return text

    def _member(self, type_id: int, index: int) -> tuple[str, int]:
        if index >= self._head(type_id)[1]:
            raise damaged(f"type {type_id} has no member {index}")
        name, member, _ = self._tail(type_id, "III", index)
        return self.text(name), member

    def _enumerator(self, type_id: int, index: int) -> str:
        kind, count, _, name, _ = self._head(type_id)
        if kind not in (_ENUM, _ENUM64) or index >= count:
            raise damaged(f"type {type_id} has no enumerator {index}")
        entry = self._tail(type_id, "III" if kind == _ENUM64 else "II", index)[0]
        return f"{name}.{self.text(entry)}" if name else self.text(entry)


def lines(data: bytes, types: TypeInfo, big_endian: bool) -> dict[str, tuple[Line, ...]]:
    """The line info of .BTF.ext by section, in the order of the instructions."""
    found: dict[str, list[Line]] = {}
    for section, record in _records(data, types, big_endian, 16):
        offset, file, text, where = record[:4]
        found.setdefault(section, []).append(
            Line(offset // 8, types.text(file), where >> 10, where & 0x3FF, types.text(text))
        )
    return {
        section: tuple(sorted(entries, key=lambda entry: entry.instruction))
        for section, entries in found.items()
    }


def core_relocations(
    data: bytes, types: TypeInfo, big_endian: bool
) -> dict[str, tuple[CoreRelocation, ...]]:
    """The CO-RE relocations of .BTF.ext by section."""
    found: dict[str, list[CoreRelocation]] = {}
    for section, record in _records(data, types, big_endian, 24):
        offset, type_id, access, kind = record[:4]
        path = types.text(access)
        what = types.describe_access(type_id, path, kind)
        found.setdefault(section, []).append(
            CoreRelocation(offset // 8, kind, what, type_id, path)
        )
    return {section: tuple(entries) for section, entries in found.items()}


def _records(
    data: bytes, types: TypeInfo, big_endian: bool, table: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The first four words of each record of the table whose place is at `table`."""
    order = ">" if big_endian else "<"
    if len(data) < 24:
        raise damaged("the .BTF.ext section is cut off")
    magic, version, _, header = struct.unpack_from(order + "HBBI", data)
    if magic != _MAGIC or version != 1:
        raise damaged(f"the .BTF.ext section has magic {magic:#x} and version {version}")
    if header < table + 8 or len(data) < table + 8:
        return
    start, size = struct.unpack_from(order + "II", data, table)
    if size == 0:
        return
    position, end = header + start, header + start + size
    if end > len(data) or size < 4:
        raise damaged("the .BTF.ext section is cut off")
    (record_size,) = struct.unpack_from(order + "I", data, position)
    if not 16 <= record_size <= 256:
        raise damaged(f"records of {record_size} bytes in the .BTF.ext section")
    words = struct.Struct(order + "IIII")
    position += 4
    while position < end:
        if position + 8 > end:
            raise damaged("the .BTF.ext section is cut off")
        name, count = struct.unpack_from(order + "II", data, position)
        position += 8
        if position + count * record_size > end:
            raise damaged("the .BTF.ext section is cut off")
        section = types.text(name)
        for _ in range(count):
            yield section, words.unpack_from(data, position)
            position += record_size


def damaged(why: str) -> InvalidObject:
    """The error for BTF that contradicts itself."""
    return InvalidObject(f"the object's BTF is damaged ({why}): build it again")
