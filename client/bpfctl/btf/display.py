# SPDX-License-Identifier: Apache-2.0
"""The rules by which a type and the name of its member decide how a value is shown.

In this order; the first that fits holds (docs/design/004-values-by-btf.md has examples):

1. A decl tag `bpfd:format=FORMAT` on the member, or on a typedef of its type: ipv4 (4 bytes),
   ipv6 (16), mac (6), ns and ktime (integers: a duration, a time since boot), `enum NAME`
   (integers: by the names of that enum), octal, `kernel address` (integers),
   arguments (arrays of char: words with a NUL behind each), hex (integers, and arrays of
   bytes). A format that does not fit an array holds for its elements; one that
   fits neither is passed over.
2. A struct that is nothing but a u32 `prefixlen` and an address of 4 or 16 bytes: a prefix.
3. struct in_addr, __be32: IPv4. struct in6_addr: IPv6. A __be32 whose name says that it is
   a number (seq, ack_seq, spi, vni, ...) is one.
4. __be16, __be64: numbers in network order, so ports are what people call them.
5. Six unsigned bytes: MAC. char[]: text up to the first NUL.
6. Sixteen bytes as unsigned integers of 1, 2 or 4 bytes each, and four unsigned bytes, whose
   name speaks of an address (`saddr`, `src_ip6`, `addr`, ...): IPv6 and IPv4; be32[4] is
   IPv6 under any name. In a union with an IPv6 address four bytes are an IPv4 address.
7. Other arrays of more than 16 unsigned bytes: `hex:` and digits.
8. bool, enums by name, pointers and integers of 16 bytes as 0x, floating point; structs,
   unions and arrays by their parts; what has no size has no value.

v4-mapped IPv6 addresses are shown as IPv4. `plain` leaves out rules 1 to 7 but for text,
and shows pointers and combined flags as numbers: all in the byte order of the target, as
bpftool does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bpfctl.btf import kinds
from bpfctl.btf.btf import Btf
from bpfctl.btf.bytesroles import (
    Arguments,
    BytesRole,
    Ipv4,
    Ipv6,
    Mac,
    Prefix,
    RawBytes,
    Real,
    Text,
)
from bpfctl.btf.composites import ArrayNode, Field, PrefixLeaf, StructNode
from bpfctl.btf.errors import BtfError
from bpfctl.btf.kinds import IntEncoding, Kind
from bpfctl.btf.nodes import BitsLeaf, BytesLeaf, IntegerLeaf, Node, NothingLeaf
from bpfctl.btf.parse import ByteOrder
from bpfctl.btf.roles import (
    Boolean,
    Duration,
    Enumeration,
    Hexadecimal,
    IntegerRole,
    KernelAddress,
    NetworkNumber,
    Number,
    Octal,
)

TAG = "bpfd:format="
_MAX_DEPTH = 48
_MAX_FIELDS = 1 << 16
_ADDRESS_WORDS = re.compile(
    "ip|ip4|ip6|ipv4|ipv6|v4|v6|in6|src|dst|source|dest|destination|.*addr.*|local|remote|peer|"
    "gateway|gw|nexthop|network|net|prefix|client|server|vip"
)
_NUMBER_WORDS = re.compile("seq|ack|spi|vni|xid|teid|flow|flowlabel|mark|len|id|cookie")
_PREFIX_NAMES = ("prefixlen", "prefix_len", "prefix_length", "plen", "lpm_prefixlen")


def speaks_of_address(name: str) -> bool:
    """Whether a name such as `saddr_v6`, `remoteIp6` or `src` means an address."""
    return any(map(_ADDRESS_WORDS.fullmatch, _words(name)))


def _words(name: str) -> list[str]:
    return re.sub("([a-z0-9])([A-Z])", r"\1_\2", name).lower().split("_")


def build(btf: Btf, type_id: int, plain: bool = False, lpm: bool | None = None) -> Node:
    """The tree of a type. Raises BtfError for types that contain themselves.

    `lpm`: whether the type is the key of an LPM trie; None: as its names say.
    """
    node = _Builder(btf, plain, lpm).node(type_id)
    if lpm and not plain and isinstance(node, StructNode) and is_prefix(node, any_name=True):
        return PrefixLeaf(Prefix(node.name, node.size - 4, btf.byteorder), node)
    return node


class _Builder:
    def __init__(self, btf: Btf, plain: bool, lpm: bool | None) -> None:
        self.btf = btf
        self.order: ByteOrder = btf.byteorder
        self.plain = plain
        self.lpm = lpm
        self._made: dict[tuple[int, str, str], Node] = {}
        self._fields = 0

    def node(self, type_id: int, name: str = "", tag: str = "", depth: int = 0) -> Node:
        """The node of a type for a member of that name and tag."""
        if depth > _MAX_DEPTH:
            raise BtfError(f"type {type_id} of the BTF contains itself")
        key = (type_id, name, tag)
        if key not in self._made:
            self._made[key] = self._make(type_id, name, tag, depth)
        return self._made[key]

    def _make(self, type_id: int, name: str, tag: str, depth: int) -> Node:
        chain = list(self.btf.chain(type_id))
        base = chain[-1]
        title = self.btf.type_name(type_id)
        if isinstance(base, kinds.Variable):
            tag = tag or self._tag(base.id, -1)
            return self.node(base.type, name or base.name, tag, depth + 1)
        names = [found.name for found in chain[:-1] if found.kind is Kind.TYPEDEF]
        tags = (self._tag(found.id, -1) for found in chain if found.kind is Kind.TYPEDEF)
        tag = tag or next(filter(None, tags), "")
        role = self._tagged(title, base, tag)
        if role is not None:
            return self._leaf(role)
        if isinstance(base, kinds.Composite):
            return self._composite(base, title, depth)
        if isinstance(base, kinds.DataSection):
            return self._section(base, depth)
        if isinstance(base, kinds.Array):
            return self._array(base, title, [name, *names], tag, depth)
        if isinstance(base, kinds.Int | kinds.Enum) or base.kind is Kind.PTR:
            return self._leaf(self._number(title, base, [name, *names]))
        if isinstance(base, kinds.Float) and base.size in (4, 8):
            return BytesLeaf(Real(title, base.size, self.order))
        if size := self.btf.size(base.id):
            return BytesLeaf(RawBytes(title, size))
        return NothingLeaf(title)

    def _leaf(self, role: IntegerRole | BytesRole) -> Node:
        if isinstance(role, BytesRole):
            return BytesLeaf(role)
        order = role.order if isinstance(role, Number) else self.order
        return IntegerLeaf(role.name, role.bits // 8, order, role)

    def _tag(self, type_id: int, component: int) -> str:
        if self.plain:
            return ""
        tags = self.btf.decl_tags(type_id, component)
        return next((tag[len(TAG) :] for tag in tags if tag.startswith(TAG)), "")

    def _tagged(self, title: str, base: kinds.Type, tag: str) -> IntegerRole | BytesRole | None:
        if not tag:
            return None
        size = self.btf.size(base.id)
        addresses: dict[tuple[str, int], type[Ipv4 | Ipv6 | Mac]] = {
            ("ipv4", 4): Ipv4,
            ("ipv6", 16): Ipv6,
            ("mac", 6): Mac,
        }
        if found := addresses.get((tag, size)):
            return found(title, size)
        if isinstance(base, kinds.Int) and tag.startswith("enum "):
            named = self.btf.find(tag.removeprefix("enum "), Kind.ENUM)
            if isinstance(named, kinds.Enum):
                return Enumeration(title, 8 * size, base.signed, named.values)
        if isinstance(base, kinds.Int) and base.bits == 8 * size <= 64:
            return _integer_tag(title, base, tag)
        if tag == "arguments" and self._is_text(base):
            return Arguments(title, size)
        if tag == "hex" and self._element(base, (1,)):
            return RawBytes(title, size)
        return None

    def _number(
        self, title: str, base: kinds.Type, names: list[str]
    ) -> IntegerRole | BytesRole:
        size = self.btf.size(base.id)
        bits = 8 * size
        if isinstance(base, kinds.Enum):
            return Enumeration(title, bits, base.signed, base.values, self.plain)
        if self.plain and base.kind is Kind.PTR:
            return Number(title, bits, False, self.order)
        if not isinstance(base, kinds.Int) or size > 8:
            return Hexadecimal(title, bits, False)
        if base.encoding & IntEncoding.BOOL:
            return Boolean(title, bits, base.signed)
        if not self.plain and {"__be16", "__be32", "__be64"} & set(names):
            if size == 4 and not any(map(_NUMBER_WORDS.fullmatch, _words(names[0]))):
                return Ipv4(title, 4)
            return NetworkNumber(title, bits, base.signed)
        return Number(title, bits, base.signed, self.order)

    def _element(self, base: kinds.Type, sizes: tuple[int, ...]) -> kinds.Int | None:
        """The element of an array of plain unsigned integers of these sizes."""
        if not isinstance(base, kinds.Array):
            return None
        element = self.btf.resolve(base.element)
        if not isinstance(element, kinds.Int) or element.size not in sizes:
            return None
        other = element.signed or element.encoding & IntEncoding.BOOL or is_char(element)
        return None if other else element

    def _is_text(self, base: kinds.Type) -> bool:
        element = self.btf.resolve(base.element) if isinstance(base, kinds.Array) else None
        return isinstance(element, kinds.Int) and is_char(element)

    def _array(
        self, base: kinds.Array, title: str, names: list[str], tag: str, depth: int
    ) -> Node:
        element = self.btf.resolve(base.element)
        if isinstance(element, kinds.Int) and is_char(element):
            return BytesLeaf(Text(title, base.count))
        size = self.btf.size(base.id)
        number = None if self.plain else self._element(base, (1, 2, 4))
        if number is not None:
            network = any(found.name == "__be32" for found in self.btf.chain(base.element))
            address = any(speaks_of_address(name) for name in names)
            if size == 16 and (address or network):
                return BytesLeaf(Ipv6(title, 16))
            if number.size == 1 and size == 6:
                return BytesLeaf(Mac(title, 6))
            if number.size == 1 and size == 4 and address:
                return BytesLeaf(Ipv4(title, 4))
            if number.size == 1 and size > 16:
                return BytesLeaf(RawBytes(title, size))
        part = self.node(base.element, names[0], tag, depth + 1)
        return ArrayNode(title, part, base.count)

    def _section(self, base: kinds.DataSection, depth: int) -> Node:
        fields: list[Field] = []
        for entry in base.variables:
            variable = self.btf.type(entry.variable)
            if isinstance(variable, kinds.Variable):
                node = self.node(entry.variable, "", "", depth + 1)
                fields.append(Field(variable.name, node, entry.offset))
        size = max([base.size, *(field.offset + field.node.size for field in fields)])
        return StructNode(base.name, size, _with_names_of_their_own(fields))

    def _composite(self, base: kinds.Composite, title: str, depth: int) -> Node:
        if not self.plain and (base.name, base.size) == ("in_addr", 4):
            return BytesLeaf(Ipv4(title, 4))
        if not self.plain and (base.name, base.size) == ("in6_addr", 16):
            return BytesLeaf(Ipv6(title, 16))
        fields = _with_names_of_their_own(list(self._members(base, 0, depth)))
        node = StructNode(title, base.size, fields)
        for field in fields:
            # A damaged BTF may say so; reading would run over the end of the value.
            if field.offset + field.node.size > base.size:
                raise BtfError(f"{title}: member {field.name} of the BTF ends outside of it")
        if self.lpm is not False and not self.plain and is_prefix(node):
            return PrefixLeaf(Prefix(title, node.size - 4, self.order), node)
        return node

    def _members(self, base: kinds.Composite, bit: int, depth: int) -> Iterator[Field]:
        """Fields with those of anonymous members; `bit` is where the composite starts."""
        if depth > _MAX_DEPTH:
            raise BtfError(f"type {base.id} of the BTF contains itself")
        found: list[Field] = []
        for index, member in enumerate(base.members):
            inner = self.btf.resolve(member.type)
            if not member.name and isinstance(inner, kinds.Composite):
                found.extend(self._members(inner, bit + member.bit_offset, depth + 1))
            elif member.name:
                found.append(self._member(base, index, bit, depth))
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                raise BtfError(f"type {base.id} of the BTF has more than {_MAX_FIELDS} members")
        if base.kind is Kind.UNION and not self.plain:
            found = _addresses_of_union(found)
        yield from found

    def _member(self, base: kinds.Composite, index: int, bit: int, depth: int) -> Field:
        member = base.members[index]
        at = bit + member.bit_offset
        bits = member.bits
        inner = self.btf.resolve(member.type)
        if isinstance(inner, kinds.Int) and not bits and inner.bits != 8 * inner.size:
            # Bit fields before kernel 5.0 (commit 9d5f9f701b18) were integers of few bits.
            at, bits = at + inner.bit_offset, inner.bits
        node = self.node(member.type, member.name, self._tag(base.id, index), depth + 1)
        if bits or at % 8:
            node = self._bits(node, inner, at % 8, bits or 8 * node.size)
        return Field(member.name, node, at // 8)

    def _bits(self, node: Node, inner: kinds.Type, shift: int, bits: int) -> Node:
        if not isinstance(inner, kinds.Int | kinds.Enum) or bits > 128:
            raise BtfError(f"the BTF has a bit field of type {node.name} and {bits} bits")
        title = f"{node.name}:{bits}"
        role: IntegerRole
        if isinstance(node, IntegerLeaf) and isinstance(node.role, Hexadecimal):
            role = Hexadecimal(title, bits, False)
        elif isinstance(inner, kinds.Enum):
            role = Enumeration(title, bits, inner.signed, inner.values, self.plain)
        elif inner.encoding & IntEncoding.BOOL:
            role = Boolean(title, bits, False)
        else:
            role = Number(title, bits, inner.signed, self.order)
        return BitsLeaf(title, shift, bits, self.order, role)


def _with_names_of_their_own(fields: list[Field]) -> list[Field]:
    """Static variables of several files that were linked into one object may be called the
    same: the second is "name.2", as compilers tell variables of functions apart."""
    names = [field.name for field in fields]
    if len(set(names)) == len(names):
        return fields
    taken = set(names)
    seen: set[str] = set()
    found = []
    for field in fields:
        name, number = field.name, 1
        while name in seen or (number > 1 and name in taken):
            number += 1
            name = f"{field.name}.{number}"
        seen.add(name)
        found.append(Field(name, field.node, field.offset))
    return found


def _integer_tag(title: str, base: kinds.Int, tag: str) -> IntegerRole | None:
    if tag == "hex":
        return Hexadecimal(title, 8 * base.size, False)
    if tag == "kernel address":
        return KernelAddress(title, 8 * base.size, False)
    if tag == "octal":
        return Octal(title, 8 * base.size, base.signed)
    if tag in ("ns", "ktime"):
        return Duration(title, 8 * base.size, base.signed, tag == "ktime")
    return None


def is_char(found: kinds.Int) -> bool:
    """Whether an integer is C's plain char, which compilers tell by its name."""
    return found.size == 1 and (found.name == "char" or bool(found.encoding & IntEncoding.CHAR))


def is_prefix(node: StructNode, any_name: bool = False) -> bool:
    """Whether a struct is a u32 prefix length and an address, and nothing else.

    The address is one member, or a union of forms of it.
    """
    leaves = [leaf for leaf in node.leaves() if leaf[2].size]
    lengths = [leaf for leaf in leaves if leaf[1] == 0]
    addresses = [leaf for _, at, leaf in leaves if at == 4]
    if node.size not in (8, 20) or len(lengths) + len(addresses) != len(leaves):
        return False
    return (
        bool(lengths)
        and all(isinstance(leaf, IntegerLeaf) and leaf.size == 4 for _, _, leaf in lengths)
        and (any_name or all(_last(path) in _PREFIX_NAMES for path, _, _ in lengths))
        and any(leaf.size == node.size - 4 for leaf in addresses)
    )


def _last(path: str) -> str:
    return path.rsplit(".", maxsplit=1)[-1].lower()


def _addresses_of_union(fields: list[Field]) -> list[Field]:
    roles = [getattr(field.node, "role", None) for field in fields]
    if not any(isinstance(role, Ipv6) for role in roles):
        return fields
    result: list[Field] = []
    for field in fields:
        node = field.node
        number = isinstance(node, IntegerLeaf) and type(node.role) is Number
        unsigned = number and not getattr(getattr(node, "role", None), "signed", True)
        bytes_of_it = isinstance(node, ArrayNode) and node.element.size == 1
        if node.size == 4 and (unsigned or bytes_of_it):
            node = BytesLeaf(Ipv4(node.name, 4))
        result.append(Field(field.name, node, field.offset))
    return result
