# SPDX-License-Identifier: Apache-2.0
"""The syntax tree of a condition as a test of arrays: the parts of Python that are let in."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from bpfctl.btf.composites import ArrayNode, StructNode
from bpfctl.btf.nodes import Node
from bpfctl.where.compare import Test, compare, contains, truth
from bpfctl.where.lexer import Constant, Lexed, parse, refused
from bpfctl.where.operands import Computed, Field, Operand, UnknownName, numbers, parts

if TYPE_CHECKING:
    from bpfctl.btf.codec import Codec
    from bpfctl.btf.columns import Array

_SIGNS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_ARITHMETIC: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
    ast.BitAnd: ("&", operator.and_),
    ast.BitOr: ("|", operator.or_),
    ast.BitXor: ("^", operator.xor),
    ast.LShift: ("<<", operator.lshift),
    ast.RShift: (">>", operator.rshift),
}
_BITWISE = (ast.BitAnd, ast.BitOr, ast.BitXor, ast.LShift, ast.RShift)
_MAX_NAMES = 40


def compiled(text: str, codec: Codec) -> Test:
    """The test of a condition on records of that type. Raises InvalidArgument."""
    tree, lexed = parse(text)
    compiler = _Compiler(codec.node, lexed)
    try:
        return compiler.test(tree)
    except UnknownName as error:
        raise compiler.unknown(str(error)) from None


class _Compiler:
    def __init__(self, root: Node, lexed: Lexed) -> None:
        self._root = root
        self._lexed = lexed

    def test(self, tree: ast.expr) -> Test:
        """A part that is true or false."""
        if isinstance(tree, ast.BoolOp):
            tests = [self.test(value) for value in tree.values]
            join = operator.and_ if isinstance(tree.op, ast.And) else operator.or_
            return lambda array: _joined(join, (test(array) for test in tests))
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not):
            inner = self.test(tree.operand)
            return lambda array: _not(inner(array))
        if isinstance(tree, ast.Compare):
            return self._chain(tree)
        return truth(self.operand(tree))

    def _chain(self, tree: ast.Compare) -> Test:
        """`1 < a < 5` is both."""
        sides = [tree.left, *tree.comparators]
        tests = [
            self._pair(left, sign, right)
            for left, sign, right in zip(sides[:-1], tree.ops, sides[1:], strict=True)
        ]
        return lambda array: _joined(operator.and_, (test(array) for test in tests))

    def _pair(self, left: ast.expr, sign: ast.cmpop, right: ast.expr) -> Test:
        if isinstance(sign, ast.In | ast.NotIn):
            test = self._within(left, right)
            return test if isinstance(sign, ast.In) else lambda array: _not(test(array))
        if type(sign) not in _SIGNS:
            raise refused("comparisons are == != < <= > >= in and not in")
        if isinstance(right, ast.Tuple | ast.List):
            raise refused("a list stands behind `in` only")
        return compare(self.operand(left), _SIGNS[type(sign)], self.operand(right))

    def _within(self, left: ast.expr, right: ast.expr) -> Test:
        part = self.operand(left)
        if not isinstance(right, ast.Tuple | ast.List):
            whole = self.operand(right)
            if isinstance(whole, Constant) and whole.kind in ("number", "text", "mac", "name"):
                # `in (443)`: a list of one.
                return compare(part, "==", whole)
            return contains(part, whole)
        if not right.elts:
            raise refused("the list behind `in` is empty")
        tests = [compare(part, "==", self.operand(each)) for each in right.elts]
        return lambda array: _joined(operator.or_, (test(array) for test in tests))

    def operand(self, tree: ast.expr) -> Operand:
        """A part that has a value."""
        if isinstance(tree, ast.Name):
            if tree.id in self._lexed.constants:
                return self._lexed.constants[tree.id]
            return self._named(self._lexed.words[tree.id])
        if isinstance(tree, ast.Attribute):
            return self._member(tree)
        if isinstance(tree, ast.Subscript):
            return self._element(tree)
        if isinstance(tree, ast.BinOp) and type(tree.op) in _ARITHMETIC:
            return self._computed(tree)
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub | ast.Invert):
            return self._unary(tree)
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.UAdd):
            return self.operand(tree.operand)
        if isinstance(tree, ast.Call):
            raise refused("functions cannot be called in a condition")
        if isinstance(tree, ast.Compare | ast.BoolOp | ast.UnaryOp):
            test = self.test(tree)
            return Computed(lambda array: _number(test(array)), "a condition")
        raise refused(f"{self._lexed.written(tree)[:40]!r} is no part of a condition")

    def _named(self, name: str) -> Operand:
        if isinstance(self._root, StructNode):
            for field in self._root.fields:
                if field.name == name:
                    return Field(name, field.node, field.offset)
        elif name == "value":
            return Field(name, self._root, 0)
        # A value of an enum, maybe: what it is compared with decides.
        return Constant("name", name, name)

    def _member(self, tree: ast.Attribute) -> Field:
        outer, name = self._field(tree.value), self._lexed.words.get(tree.attr, tree.attr)
        if not isinstance(outer.node, StructNode):
            raise refused(f"{outer.describe()} has no field {name}{parts(outer)}")
        for field in outer.node.fields:
            if field.name == name:
                path = f"{outer.path}.{name}"
                return Field(path, field.node, outer.offset + field.offset)
        raise refused(_missing(name, [field.name for field in outer.node.fields], outer.path))

    def _element(self, tree: ast.Subscript) -> Field:
        outer = self._field(tree.value)
        if not isinstance(outer.node, ArrayNode):
            raise refused(f"{outer.describe()} is no array{parts(outer)}")
        index = tree.slice.value if isinstance(tree.slice, ast.Constant) else None
        if not isinstance(index, int) or not 0 <= index < outer.node.count:
            raise refused(f"{outer.describe()} has elements 0 to {outer.node.count - 1}")
        element = outer.node.element
        path = f"{outer.path}[{index}]"
        return Field(path, element, outer.offset + index * element.size)

    def _field(self, tree: ast.expr) -> Field:
        found = self.operand(tree)
        if isinstance(found, Constant) and found.kind == "name":
            raise UnknownName(found.text)
        if not isinstance(found, Field):
            raise refused(f"{found.text} is no field")
        return found

    def _computed(self, tree: ast.BinOp) -> Computed:
        left, right = self.operand(tree.left), self.operand(tree.right)
        sign, function = _ARITHMETIC[type(tree.op)]
        get, other = numbers(left, right), numbers(right, left)
        whole = isinstance(tree.op, _BITWISE)

        def work(array: Array) -> Any:
            first, second = _common(get(array), other(array))
            if whole and "f" in (_kind(first), _kind(second)):
                raise refused(f"{sign} is for whole numbers")
            result = function(first, second)
            # Differences below zero: of numbers without a sign they have one.
            unsigned = sign == "-" and _kind(result) == "u"
            return result.view("i8") if unsigned and result.itemsize == 8 else result

        units = [
            side.nanoseconds() if isinstance(side, Field) else side.nanoseconds
            for side in (left, right)
            if not isinstance(side, Constant)
        ]
        return Computed(work, f"a result of {sign}", max(units, default=1))

    def _unary(self, tree: ast.UnaryOp) -> Operand:
        inner = self.operand(tree.operand)
        negative = isinstance(tree.op, ast.USub)
        if isinstance(inner, Constant) and isinstance(inner.value, int | float) and negative:
            return Constant(inner.kind, -inner.value, f"-{inner.text}")
        get = numbers(inner)
        if negative:
            return Computed(lambda array: 0 - _common(get(array), 0)[0].view("i8"), "-")
        return Computed(lambda array: ~get(array), "~")

    def unknown(self, name: str) -> Exception:
        """The error of a name that means nothing here."""
        if isinstance(self._root, StructNode):
            return refused(_missing(name, [field.name for field in self._root.fields]))
        return refused(f"there is no field {name}; the records are {self._root.name}: value")


def _missing(name: str, names: Iterable[str], where: str = "") -> str:
    import difflib

    names = list(names)
    near = difflib.get_close_matches(name, names, 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    of = f"{where} has" if where else "there is"
    more = ", ..." if len(names) > _MAX_NAMES else ""
    listed = f"{', '.join(names[:_MAX_NAMES])}{more}" or "none"
    quotes = "" if where or near else f'; text stands in quotes: "{name}"'
    return f"{of} no field {name!r}; fields are {listed}{hint}{quotes}"


def _joined(join: Callable[[Any, Any], Any], parts: Iterable[Any]) -> Any:
    result: Any = None
    for part in parts:
        result = part if result is None else join(result, part)
    return result


def _not(value: Any) -> Any:
    import numpy as np

    return np.logical_not(value)


def _number(value: Any) -> Any:
    import numpy as np

    return np.asarray(value).astype("i8")


def _kind(value: Any) -> str:
    return str(getattr(getattr(value, "dtype", None), "kind", type(value).__name__[0]))


def _common(first: Any, second: Any) -> tuple[Any, Any]:
    """Both in 64 bits, so that nothing wraps that C would not wrap either."""
    import numpy as np

    wide = []
    for value in (first, second):
        if isinstance(value, int):
            fits = -(1 << 63) <= value < 1 << 64
            value = np.asarray(value, ("u8" if value >= 1 << 63 else "i8") if fits else object)
        widened = {"i": "i8", "u": "u8", "b": "i8"}.get(_kind(value))
        wide.append(value.astype(widened) if widened else value)
    kinds = [_kind(value) for value in wide]
    if sorted(kinds) == ["i", "u"]:
        # numpy would make them floating point, which loses the last bits.
        below_zero = (wide[kinds.index("i")] < 0).any()
        wide = [value.view("i8" if below_zero else "u8") for value in wide]
    return wide[0], wide[1]
