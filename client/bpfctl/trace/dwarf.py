# SPDX-License-Identifier: Apache-2.0
"""Arguments of user functions, from the DWARF of their binary."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .values import CHAR, CType, MemberOf, Shape

_MAX_CHAIN = 32
_BOOL, _FLOAT, _COMPLEX, _SIGNED, _SIGNED_CHAR, _UNSIGNED_CHAR, _UTF = 2, 4, 3, 5, 6, 8, 0x10
"""DW_ATE_... of the DWARF 5 standard, section 7.8."""

MAX_UNITS = 4000
"""Compilation units that are searched where no index says which one it is."""


class NoDebugInformation(ValueError):
    """A binary does not say what is asked of it; the text says why."""


@dataclass(frozen=True)
class Signature:
    """A user function."""

    name: str
    parameters: tuple[tuple[str, CType], ...]
    result: CType
    variadic: bool = False


@dataclass(frozen=True)
class DwarfType(CType):
    """A type of a DWARF."""

    die: Any = None
    pointer: int = 8

    def target(self) -> CType | None:
        if self.shape not in ("pointer", "array") or self.die is None:
            return None
        return of_die(_type_of(self.die), self.pointer)

    def member(self, name: str) -> MemberOf | None:
        return next((each for each in self._members(self.die, 0, 0) if each.name == name), None)

    def names(self) -> Iterator[str]:
        return (each.name for each in self._members(self.die, 0, 0))

    def _members(self, die: Any, base: int, depth: int) -> Iterator[MemberOf]:
        if die is None or self.shape != "struct" or depth > _MAX_CHAIN:
            return
        for child in die.iter_children():
            if child.tag not in ("DW_TAG_member", "DW_TAG_inheritance"):
                continue
            place = child.attributes.get("DW_AT_data_member_location")
            at = base + (place.value if place and isinstance(place.value, int) else 0)
            bits = child.attributes.get("DW_AT_bit_size")
            name = _text(child, "DW_AT_name")
            if name:
                kind = of_die(_type_of(child), self.pointer)
                yield MemberOf(name, kind, at, bits.value if bits else 0)
            else:
                yield from self._members(_plain(_type_of(child)), at, depth + 1)


def _text(die: Any, attribute: str) -> str:
    found = die.attributes.get(attribute)
    value = found.value if found else b""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _type_of(die: Any) -> Any:
    """The die of a die's type; None: void."""
    return die.get_DIE_from_attribute("DW_AT_type") if "DW_AT_type" in die.attributes else None


_QUALIFIERS = (
    *("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type"),
    "DW_TAG_atomic_type",
)


def _plain(die: Any) -> Any:
    for _ in range(_MAX_CHAIN):
        if die is None or die.tag not in _QUALIFIERS:
            return die
        die = _type_of(die)
    raise NoDebugInformation("its debug information has a type that contains itself")


def of_die(die: Any, pointer: int) -> CType:
    """The type at a die; None: void."""
    plain = _plain(die)
    text = _name(die, 0)
    if plain is None:
        return CType("void", text="void")
    size = plain.attributes.get("DW_AT_byte_size")
    bytes_ = size.value if size else 0
    shape: Shape = "unknown"
    signed = False
    if (
        plain.tag in ("DW_TAG_pointer_type", "DW_TAG_reference_type")
        or plain.tag == "DW_TAG_rvalue_reference_type"
    ):
        shape, bytes_ = "pointer", bytes_ or pointer
    elif plain.tag == "DW_TAG_base_type":
        encoding = plain.attributes["DW_AT_encoding"].value
        signed = encoding in (_SIGNED, _SIGNED_CHAR)
        shape = "int"
        if encoding == _BOOL:
            shape = "bool"
        elif encoding in (_FLOAT, _COMPLEX):
            shape = "float"
        elif bytes_ == 1 and _text(plain, "DW_AT_name") == "char":
            return DwarfType("char", 1, CHAR.signed, text, die=plain, pointer=pointer)
    elif plain.tag == "DW_TAG_enumeration_type":
        values = {
            _text(child, "DW_AT_name"): child.attributes["DW_AT_const_value"].value
            for child in plain.iter_children()
            if child.tag == "DW_TAG_enumerator"
        }
        name = _text(plain, "DW_AT_name")
        return DwarfType("enum", bytes_, False, text, False, name, values, die=plain)
    elif plain.tag in ("DW_TAG_structure_type", "DW_TAG_class_type", "DW_TAG_union_type"):
        shape = "struct"
    elif plain.tag == "DW_TAG_array_type":
        shape, bytes_ = "array", bytes_ or _array_bytes(plain, pointer)
    return DwarfType(shape, bytes_, signed, text, die=plain, pointer=pointer)


def _array_bytes(die: Any, pointer: int) -> int:
    total = of_die(_type_of(die), pointer).size
    for child in die.iter_children():
        if child.tag == "DW_TAG_subrange_type":
            count = child.attributes.get("DW_AT_count")
            upper = child.attributes.get("DW_AT_upper_bound")
            if count and isinstance(count.value, int):
                total *= count.value
            elif upper and isinstance(upper.value, int):
                total *= upper.value + 1
            else:
                return 0
    return total


def _name(die: Any, depth: int) -> str:
    if die is None or depth > _MAX_CHAIN:
        return "void"
    name = _text(die, "DW_AT_name")
    if die.tag == "DW_TAG_pointer_type":
        inner = _name(_type_of(die), depth + 1)
        return inner + ("*" if inner.endswith("*") else " *")
    if die.tag.endswith("reference_type"):
        return f"{_name(_type_of(die), depth + 1)} &"
    if die.tag == "DW_TAG_const_type":
        return f"const {_name(_type_of(die), depth + 1)}"
    if die.tag == "DW_TAG_array_type":
        return f"{_name(_type_of(die), depth + 1)}[]"
    if die.tag == "DW_TAG_subroutine_type":
        return "function"
    words = {
        "DW_TAG_structure_type": "struct ",
        "DW_TAG_union_type": "union ",
        "DW_TAG_enumeration_type": "enum ",
    }
    return (
        words.get(die.tag, "") + (name or "{...}")
        if die.tag not in _QUALIFIERS or name
        else (_name(_type_of(die), depth + 1))
    )


def signature(data: bytes, function: str, address: int = -1) -> Signature:
    """Parameters of a function of an ELF file, by its linkage name or plain name.

    `address`: its virtual address, by which its unit is found at once; -1: unknown. Raises
    NoDebugInformation where the file has none, where it is damaged, or does not know it.
    """
    from elftools.common.exceptions import DWARFError, ELFError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(io.BytesIO(data))
        if not elf.has_dwarf_info(strict=True):
            raise NoDebugInformation("it has no debug information (DWARF)")
        information = elf.get_dwarf_info(relocate_dwarf_sections=False)
        die = _find(information, function, address)
        if die is None:
            raise NoDebugInformation(f"its debug information does not know {function}")
        return _signature(die, function, elf.elfclass // 8)
    except NoDebugInformation:
        raise
    except (ELFError, DWARFError) as error:
        raise NoDebugInformation(f"its debug information is damaged: {error}") from None
    except RecursionError:
        raise NoDebugInformation("its debug information is damaged: it is endless") from None
    except Exception as error:
        # pyelftools finds damage in many ways: KeyError, IndexError, struct.error, ...
        what = f"{type(error).__name__}: {error}"
        raise NoDebugInformation(f"its debug information cannot be read ({what})") from None


def _find(information: Any, function: str, address: int) -> Any:
    ranges = information.get_aranges() if address >= 0 else None
    offset = ranges.cu_offset_at_addr(address) if ranges is not None else None
    if offset is not None:
        found = _in_unit(information.get_CU_at(offset), function, address)
        if found is not None:
            return found
    for number, unit in enumerate(information.iter_CUs()):
        if number >= MAX_UNITS:
            raise NoDebugInformation(
                f"{function} is in none of the first {MAX_UNITS} units of its debug information"
            )
        found = _in_unit(unit, function, address)
        if found is not None:
            return found
    return None


def _in_unit(unit: Any, function: str, address: int) -> Any:
    best = None
    for die in unit.iter_DIEs():
        if die.tag != "DW_TAG_subprogram":
            continue
        low = die.attributes.get("DW_AT_low_pc")
        if low is not None and address >= 0 and low.value == address:
            return die
        names = {
            _text(each, attribute)
            for each in _origins(die)
            for attribute in ("DW_AT_name", "DW_AT_linkage_name")
        }
        if function in names and "DW_AT_declaration" not in die.attributes and best is None:
            best = die
    return best


def _origins(die: Any) -> Iterator[Any]:
    for _ in range(4):
        yield die
        for attribute in ("DW_AT_abstract_origin", "DW_AT_specification"):
            if attribute in die.attributes:
                die = die.get_DIE_from_attribute(attribute)
                break
        else:
            return


def _signature(die: Any, function: str, pointer: int) -> Signature:
    origins = list(_origins(die))
    parameters: list[tuple[str, CType]] = []
    variadic = False
    for owner in origins:
        children = list(owner.iter_children())
        formal = [each for each in children if each.tag == "DW_TAG_formal_parameter"]
        variadic = any(each.tag == "DW_TAG_unspecified_parameters" for each in children)
        if not formal:
            continue
        for number, each in enumerate(formal):
            chain = list(_origins(each))
            name = next(filter(None, (_text(one, "DW_AT_name") for one in chain)), "")
            kind = next((one for one in chain if "DW_AT_type" in one.attributes), each)
            parameters.append((name or f"arg{number}", of_die(_type_of(kind), pointer)))
        break
    typed = next((one for one in origins if "DW_AT_type" in one.attributes), die)
    result = of_die(_type_of(typed), pointer)
    return Signature(function, tuple(parameters), result, variadic)
