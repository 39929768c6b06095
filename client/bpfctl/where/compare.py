# SPDX-License-Identifier: Apache-2.0
"""Comparisons, each made for the types of its sides: numbers, texts, addresses, bytes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any

from bpfctl.btf.bytesroles import Ipv4, Ipv6, Text
from bpfctl.btf.composites import ArrayNode
from bpfctl.btf.errors import BtfValueError
from bpfctl.btf.nodes import BytesLeaf
from bpfctl.where.lexer import Constant, refused
from bpfctl.where.operands import Field, Operand, UnknownName, numbers, parts

if TYPE_CHECKING:
    from bpfctl.btf.columns import Array

Test = Callable[["Array"], Any]

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def compare(left: Operand, sign: str, right: Operand) -> Test:
    """The test of one comparison. Raises InvalidArgument."""
    if isinstance(left, Constant) and isinstance(right, Field):
        return compare(right, _FLIPPED.get(sign, sign), left)
    if isinstance(left, Field):
        if isinstance(right, Constant):
            return _with_constant(left, sign, right)
        if isinstance(right, Field) and not (left.is_number and right.is_number):
            return _fields(left, sign, right)
    get, other = numbers(left, right), numbers(right, left)
    compared = OPERATORS[sign]
    return lambda array: compared(get(array), other(array))


def _with_constant(field: Field, sign: str, constant: Constant) -> Test:
    if constant.kind in ("address", "mac"):
        return _negated(_address(field, constant), field, sign)
    if field.is_text:
        return _text(field, sign, constant)
    if field.is_number:
        get, value = field.numbers, numbers(constant, field)
        compared = OPERATORS[sign]
        return lambda array: compared(get(array), value(array))
    if isinstance(field.node, BytesLeaf):
        if constant.kind == "name":
            raise UnknownName(constant.text)
        if field.role_is(Ipv4, Ipv6) and constant.kind == "text":
            try:
                network = ip_network(str(constant.value), strict=False)
            except ValueError as error:
                raise refused(f"{field.describe()}: {error}") from None
            found = Constant("address", network, constant.text)
            return _negated(_address(field, found), field, sign)
        return _negated(_bytes(field, constant), field, sign)
    raise refused(f"{field.describe()} is no single value{parts(field)}")


def _negated(test: Test, field: Field, sign: str) -> Test:
    """== as it is, != turned round; nothing else has a meaning."""
    if sign == "==":
        return test
    if sign == "!=":
        return lambda array: ~test(array)
    raise refused(f"{field.describe()} is compared with ==, != and in, not with {sign}")


def _bytes(field: Field, constant: Constant) -> Test:
    import numpy as np

    assert isinstance(field.node, BytesLeaf)
    try:
        data = field.node.role.read(constant.value, field.path)
    except BtfValueError as error:
        raise refused(str(error)) from None
    wanted = np.frombuffer(data, "u1")
    return lambda array: (field.octets(array) == wanted).all(axis=1)


def _text(field: Field, sign: str, constant: Constant) -> Test:
    if constant.kind == "name":
        raise UnknownName(constant.text)
    if constant.kind != "text":
        raise refused(f'{field.describe()} is a text: write it as {field.path} {sign} "..."')
    raw = _raw_text(field, str(constant.value))
    if sign not in ("==", "!="):
        compared = OPERATORS[sign]
        return lambda array: compared(field.texts(array), raw)
    size = field.node.size

    def equal(array: Array) -> Any:
        import numpy as np

        if len(raw) > size:
            return np.zeros(len(array), bool)
        # With the NUL that ends it, unless it fills the field.
        taken = min(len(raw) + 1, size)
        return array.getfield(np.dtype(f"S{taken}"), field.offset) == raw

    return equal if sign == "==" else lambda array: ~equal(array)


def _raw_text(field: Field, text: str) -> bytes:
    r"""The bytes of a text, in which \xNN is a byte, as it is shown."""
    role = Text(field.node.name, max(field.node.size, 4 * len(text) + 1))
    return role.read(text, field.path).rstrip(b"\0")


def _address(field: Field, constant: Constant) -> Test:
    size = field.address_bytes
    if constant.kind == "mac":
        if size != 6:
            raise refused(f"{field.describe()} is no MAC address, as {constant.text} is")
        assert isinstance(constant.value, bytes)
        return _masked(field, constant.value, 48)
    network = constant.value
    assert isinstance(network, IPv4Network | IPv6Network)
    packed, length = network.network_address.packed, network.prefixlen
    if size == 16 and network.version == 4:
        packed, length = bytes(10) + b"\xff\xff" + packed, length + 96
    if size != len(packed):
        raise refused(f"{field.describe()} is no IPv{network.version} address{parts(field)}")
    return _masked(field, packed, length)


def _masked(field: Field, wanted: bytes, bits: int) -> Test:
    """Whether the first `bits` bits are those of `wanted`."""
    import numpy as np

    if len(wanted) == 4:
        mask = 0xFFFFFFFF << (32 - bits) & 0xFFFFFFFF
        value = int.from_bytes(wanted, "big")
        return lambda array: (array.getfield(">u4", field.offset) & np.uint32(mask)) == value
    whole = int.from_bytes(bytes([255] * len(wanted)), "big")
    mask = (whole << (8 * len(wanted) - bits)) & whole
    masks = np.frombuffer(mask.to_bytes(len(wanted), "big"), "u1")
    expected = np.frombuffer(wanted, "u1") & masks
    used = -(-bits // 8)
    if not used:
        return lambda array: np.ones(len(array), bool)
    return lambda array: (
        (field.octets(array)[:, :used] & masks[:used]) == expected[:used]
    ).all(axis=1)


def _fields(left: Field, sign: str, right: Field) -> Test:
    compared = OPERATORS[sign]
    if left.is_text and right.is_text:
        return lambda array: compared(left.texts(array), right.texts(array))
    alike = isinstance(left.node, BytesLeaf) and isinstance(right.node, BytesLeaf)
    if not alike or left.node.size != right.node.size or left.is_text or right.is_text:
        raise refused(
            f"{left.describe()} and {right.describe()} cannot be compared"
            f"{parts(left) or parts(right)}"
        )
    return _negated(
        lambda array: (left.octets(array) == right.octets(array)).all(axis=1), left, sign
    )


def contains(part: Operand, whole: Operand) -> Test:
    """`part in whole`: of a network, an array, or a text. Raises InvalidArgument."""
    if isinstance(whole, Constant) and whole.kind == "address":
        return compare(part, "==", whole)
    if isinstance(whole, Field) and isinstance(whole.node, ArrayNode):
        return _in_array(part, whole, whole.node)
    if isinstance(whole, Field) and whole.is_text and isinstance(part, Constant):
        if part.kind == "name":
            raise UnknownName(part.text)
        if part.kind == "text":
            return _in_text(part, whole)
    shown = whole.describe() if isinstance(whole, Field) else whole.text
    raise refused(f"nothing can be `in` {shown}: write it as a list, in (1, 2)")


def _in_array(part: Operand, whole: Field, node: ArrayNode) -> Test:
    elements = [
        Field(f"{whole.path}[{index}]", node.element, whole.offset + index * node.element.size)
        for index in range(node.count)
    ]
    tests = [compare(element, "==", part) for element in elements]

    def found(array: Array) -> Any:
        import numpy as np

        result = np.zeros(len(array), bool)
        for test in tests:
            result |= test(array)
        return result

    return found


def _in_text(part: Constant, whole: Field) -> Test:
    import numpy as np

    raw = _raw_text(whole, str(part.value))
    return lambda array: np.char.find(whole.texts(array), raw) >= 0


def truth(operand: Operand) -> Test:
    """A value by itself: a number that is not 0, a text or an address that is not empty."""
    if isinstance(operand, Field) and not operand.is_number:
        if isinstance(operand.node, BytesLeaf):
            field = operand
            taken = 1 if operand.is_text else operand.node.size
            return lambda array: field.octets(array)[:, :taken].any(axis=1)
        raise refused(f"{operand.describe()} is no single value{parts(operand)}")
    if isinstance(operand, Constant) and operand.kind == "name":
        raise UnknownName(operand.text)
    if isinstance(operand, Constant) and operand.kind not in ("number", "time"):
        raise refused(f"{operand.text} by itself is no condition")
    get = numbers(operand)
    return lambda array: get(array) != 0
