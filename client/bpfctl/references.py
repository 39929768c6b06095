# SPDX-License-Identifier: Apache-2.0
"""Programs and maps as people name them: OBJECT/NAME, a kernel id, or a pin's path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import InvalidArgument

if TYPE_CHECKING:
    from bpfd.v1 import common_pb2

MAX_ID = 2**32 - 1


def _parts(text: str, what: str) -> tuple[str, str] | int | str | None:
    """(object, name), a kernel id, a pin's path, or None for a bare name."""
    if text.isascii() and text.isdigit():
        number = int(text)
        if not 0 < number <= MAX_ID:
            raise InvalidArgument(what, f"{text} is no kernel id")
        return number
    if text.startswith("/"):
        return text
    head, slash, tail = text.partition("/")
    if not slash:
        if not text:
            raise InvalidArgument(what, "the name is empty")
        return None
    if not head or not tail:
        raise InvalidArgument(what, f"{text!r} is not OBJECT/{what.upper()}")
    return head, tail


def program_ref(value: int | str | common_pb2.ProgramRef) -> common_pb2.ProgramRef | None:
    """The reference that `value` spells; None when it is a bare name, to be looked up.

    Raises InvalidArgument.
    """
    from bpfd.v1 import common_pb2

    if isinstance(value, common_pb2.ProgramRef):
        return value
    parts = _parts(str(value), "program")
    if parts is None:
        return None
    if isinstance(parts, int):
        return common_pb2.ProgramRef(id=parts)
    if isinstance(parts, str):
        return common_pb2.ProgramRef(pin_path=parts)
    member = common_pb2.ObjectMember(object=parts[0], name=parts[1])
    return common_pb2.ProgramRef(member=member)


def map_ref(value: int | str | common_pb2.MapRef) -> common_pb2.MapRef | None:
    """The reference that `value` spells; None when it is a bare name, to be looked up.

    Raises InvalidArgument.
    """
    from bpfd.v1 import common_pb2

    if isinstance(value, common_pb2.MapRef):
        return value
    parts = _parts(str(value), "map")
    if parts is None:
        return None
    if isinstance(parts, int):
        return common_pb2.MapRef(id=parts)
    if isinstance(parts, str):
        return common_pb2.MapRef(pin_path=parts)
    member = common_pb2.ObjectMember(object=parts[0], name=parts[1])
    return common_pb2.MapRef(member=member)


def describe(ref: common_pb2.ProgramRef | common_pb2.MapRef) -> str:
    """`ref` as it would be typed."""
    kind = ref.WhichOneof("ref")
    if kind == "member":
        return f"{ref.member.object}/{ref.member.name}"
    return ref.pin_path if kind == "pin_path" else str(ref.id)
