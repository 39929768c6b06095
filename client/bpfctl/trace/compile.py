# SPDX-License-Identifier: Apache-2.0
"""From an expression to statements of C that read what it needs. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from . import expression as ex
from .errors import TraceError
from .structs import Struct, Structs, storage
from .values import CHAR, CType, PointerTo, integer

MAX_TEXT = 128
"""Bytes of a text in an event, with the NUL; longer ones are cut."""

MAX_COMPARED = 63
"""Letters of a text in a condition: it is compared on the program's stack of 512 bytes."""

COMM = CType("array", 16, text="char[16]")


@dataclass(frozen=True)
class Value:
    """Something that an expression gives."""

    type: CType
    code: str = ""
    """C expression of a scalar; of a struct or array its address."""
    struct: Struct | None = None
    """Of a kernel struct in memory: as what it is declared."""
    root: str = ""
    path: str = ""
    """Of a kernel struct in memory: root->path is it."""
    bool_: bool = False

    @property
    def text(self) -> bool:
        """Whether it is a text: a char * or an array of char."""
        return self.type.points_to_text or self.is_char_array

    @property
    def is_char_array(self) -> bool:
        if self.type.shape != "array":
            return False
        element = self.type.target()
        return element.shape == "char" if element else self.type.text.startswith("char[")


class Compiler:
    """Writes statements for the expressions of one program, into `lines`."""

    def __init__(
        self, scope: Mapping[str, Value | str], structs: Structs, *, user: bool, pointer: int
    ) -> None:
        """`scope`: values by name, or why there is none."""
        self.scope = scope
        self.structs = structs
        self.user = user
        self.pointer = pointer
        self.lines: list[str] = []
        self._count = 0

    def evaluate(self, node: ex.Node) -> Value:
        """The value of a tree; raises TraceError."""
        if isinstance(node, ex.Number):
            return Value(
                integer(8), str(node.value) + ("ULL" if node.value > 0x7FFFFFFF else "")
            )
        if isinstance(node, ex.Text):
            raise TraceError("expression", f'"{node.value}" can only be compared with a text')
        if isinstance(node, ex.Name):
            return self._name(node.name)
        if isinstance(node, ex.Member):
            return self._member(self.evaluate(node.of), node.name)
        if isinstance(node, ex.Call):
            value = self.evaluate(node.argument)
            if value.is_char_array:
                return value
            if not value.type.scalar:
                raise TraceError("expression", "str() takes a pointer")
            pointer = PointerTo("pointer", self.pointer, text="const char *", pointed=CHAR)
            return Value(pointer, value.code)
        if isinstance(node, ex.Unary):
            return self._unary(node)
        return self._binary(node)

    def condition(self, node: ex.Node) -> str:
        """A C expression that is true where the tree holds."""
        return self.number(self.evaluate(node), node)

    def number(self, value: Value, node: ex.Node) -> str:
        """The C expression of a number in the host's byte order."""
        if not value.type.scalar:
            raise TraceError(
                "expression", f"{ex.shown(node)} is a {value.type.text}, and no number"
            )
        if value.type.network:
            swap = {2: "bpf_ntohs", 4: "bpf_ntohl", 8: "bpf_be64_to_cpu"}[value.type.size]
            return f"{swap}({value.code})"
        return value.code

    def _name(self, name: str) -> Value:
        found = self.scope.get(name)
        if isinstance(found, Value):
            return found
        if found is not None:
            raise TraceError("expression", f"{name} cannot be read: {found}")
        near = difflib.get_close_matches(name, self.scope, 3)
        readable = [key for key, each in self.scope.items() if isinstance(each, Value)]
        hint = f"did you mean {', '.join(near)}?" if near else f"there is {', '.join(readable)}"
        raise TraceError("expression", f"there is no {name}; {hint}")

    def _member(self, base: Value, name: str) -> Value:
        kind = base.type
        if kind.shape == "pointer":
            target = kind.target()
            if target is None or target.shape != "struct":
                raise TraceError("expression", f"{kind.text} has no member {name}")
            base = self._pointed(base, target)
            kind = target
        if kind.shape != "struct":
            raise TraceError("expression", f"{kind.text} has no member {name}")
        member = kind.member(name)
        if member is None:
            names = list(kind.names())
            near = difflib.get_close_matches(name, names, 3)
            hint = (
                f"did you mean {', '.join(near)}?"
                if near
                else (
                    f"it has {', '.join(names[:8])}" + (", ..." if len(names) > 8 else "")
                    if names
                    else "the target does not say what it holds"
                )
            )
            raise TraceError("expression", f"{kind.text} has no member {name}; {hint}")
        if base.struct is None:
            return self._user_member(base, member.type, member.offset, member.bits, name)
        inner = self.structs.add(base.struct, member)
        path = f"{base.path}.{name}" if base.path else name
        place = f"{base.root}->{path}"
        if inner is not None:
            return Value(member.type, f"&{place}", inner, base.root, path)
        if member.type.shape == "array":
            return Value(member.type, f"&{place}")
        self._must_be_scalar(member.type, name)
        if member.bits:
            read = f"BPF_CORE_READ_BITFIELD_PROBED({base.root}, {path})"
            return Value(member.type, self._local(storage(member.type), read))
        return self._read(member.type, f"&{place}")

    def _pointed(self, base: Value, target: CType) -> Value:
        if self.user:
            return Value(target, base.code)
        struct = self.structs.of(target)
        if struct is None:
            raise TraceError("expression", f"{target.text} has no name to be found by")
        return Value(
            target, base.code, struct, f"(({struct.keyword} {struct.name} *){base.code})"
        )

    def _user_member(
        self, base: Value, kind: CType, offset: int, bits: int, name: str
    ) -> Value:
        if bits:
            raise TraceError("expression", f"{name} is a bit field of a user struct")
        code = f"({base.code} + {offset})" if offset else base.code
        if kind.shape in ("struct", "array"):
            return Value(kind, code)
        self._must_be_scalar(kind, name)
        return self._read(kind, f"(void *){code}")

    def _must_be_scalar(self, kind: CType, name: str) -> None:
        if not kind.scalar:
            raise TraceError(
                "expression", f"{name} is a {kind.text or kind.shape}: not readable"
            )

    def _read(self, kind: CType, address: str) -> Value:
        helper = "bpf_probe_read_user" if self.user else "bpf_probe_read_kernel"
        local = self._local(storage(kind), "0")
        self.lines.append(f"{helper}(&{local}, sizeof({local}), {address});")
        return Value(kind, local)

    def _local(self, kind: str, value: str) -> str:
        self._count += 1
        name = f"v{self._count}"
        self.lines.append(f"{kind} {name} = {value};")
        return name

    def _unary(self, node: ex.Unary) -> Value:
        value = self.evaluate(node.of)
        if node.operator == "*":
            target = value.type.target() if value.type.shape == "pointer" else None
            if target is None or not target.scalar:
                raise TraceError("expression", f"*: {value.type.text} points to no number")
            address = f"(void *){value.code}"
            return self._read(target, address)
        code = self.number(value, node.of)
        return Value(integer(8, node.operator == "-"), f"{node.operator}({code})")

    def _binary(self, node: ex.Binary) -> Value:
        sign = node.operator
        if sign in ("==", "!="):
            for one, other in ((node.left, node.right), (node.right, node.left)):
                if isinstance(other, ex.Text):
                    same = self._same(self.evaluate(one), other.value, one)
                    return Value(integer(4), same if sign == "==" else f"!{same}")
        left, right = self._pair(node)
        return Value(integer(8), f"({left} {sign} {right})")

    def _pair(self, node: ex.Binary) -> tuple[str, str]:
        """Both sides; a name that is none may be one of the other side's enum."""
        codes: list[str] = []
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if isinstance(one, ex.Name) and one.name not in self.scope:
                kind = None if isinstance(other, ex.Number) else self._type(other)
                if kind is not None and one.name in kind.values:
                    codes.append(str(kind.values[one.name]))
                    continue
                if kind is not None and kind.shape == "enum":
                    near = difflib.get_close_matches(one.name, kind.values, 3)
                    hint = f"; did you mean {', '.join(near)}?" if near else ""
                    raise TraceError("expression", f"{kind.text} has no value {one.name}{hint}")
            codes.append(self.number(self.evaluate(one), one))
        return codes[0], codes[1]

    def _type(self, node: ex.Node) -> CType | None:
        """The type of a tree, without statements left behind."""
        kept, count = list(self.lines), self._count
        try:
            return self.evaluate(node).type
        except TraceError:
            return None
        finally:
            self.lines[:], self._count = kept, count

    def _same(self, value: Value, wanted: str, node: ex.Node) -> str:
        if not value.text:
            raise TraceError(
                "expression",
                f"{ex.shown(node)} is a {value.type.text}, and no text; str({ex.shown(node)})"
                " reads one where it points to",
            )
        prefix = wanted.endswith("*")
        letters = (wanted[:-1] if prefix else wanted).encode()
        if len(letters) > MAX_COMPARED:
            raise TraceError("expression", f"texts of {MAX_COMPARED} bytes are the limit")
        count = len(letters) + (not prefix)
        # One letter more than wanted shows that a text goes on.
        room = (len(letters) + 2 + 7) // 8 * 8
        if value.code == "comm":
            text = "comm"
            if len(letters) > 15:
                raise TraceError("expression", "comm has at most 15 letters")
        else:
            self._count += 1
            text = f"v{self._count}"
            self.lines.append(f"char {text}[{room}];")
            self.lines.append(f"{self.read_text(text, value)};")
        return f'is_text({text}, "{_quoted(letters)}", {count})'

    def read_text(self, into: str, value: Value) -> str:
        """The call that reads a text into a char array."""
        address = value.code if value.code.startswith("&") else f"(const void *){value.code}"
        return f"read_text({into}, sizeof({into}), {address})"


def _quoted(letters: bytes) -> str:
    return "".join(
        chr(each) if 32 <= each < 127 and each not in b'"\\?' else f"\\{each:03o}"
        for each in letters
    )
