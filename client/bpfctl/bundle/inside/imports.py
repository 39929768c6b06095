# SPDX-License-Identifier: Apache-2.0
"""Which modules a Python source imports, read from its syntax alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_FOREIGN = (
    "win32",
    "cygwin",
    "darwin",
    "ios",
    "tvos",
    "watchos",
    "vxworks",
    "wasi",
    "nt",
    "ce",
)
"""Values of sys.platform and os.name that no target has."""

_GUARDS = ("ImportError", "ModuleNotFoundError", "Exception", "AttributeError", "KeyError")


@dataclass(frozen=True, order=True)
class Import:
    """One name that an import statement needs or would like to have."""

    name: str
    """Dotted and absolute; `attribute` may be a module below it."""
    attribute: str = ""
    """What is taken from it; "" for `import name`, "*" for all."""
    optional: bool = False
    """The source goes on without it."""
    later: bool = False
    """Inside a function: imported only when that is called."""


def imports_of(source: bytes, module: str, is_package: bool) -> list[Import]:
    """The imports of a source file that is imported as `module`, each once, sorted.

    Imports under `if TYPE_CHECKING` and for other systems than Linux are left out. Raises
    SyntaxError.
    """
    package = module if is_package else module.rpartition(".")[0]
    return sorted(set(_walk(ast.parse(source).body, package, False, False)))


def _walk(
    statements: list[ast.stmt], package: str, optional: bool, later: bool
) -> Iterator[Import]:
    for statement in statements:
        match statement:
            case ast.Import(names=names):
                for name in names:
                    yield Import(name.name, "", optional, later)
            case ast.ImportFrom(module=name, names=names, level=level):
                base = _absolute(package, name or "", level)
                for each in names:
                    yield Import(base, each.name, optional, later)
            case ast.If(test=test, body=body, orelse=orelse):
                held = _holds(test)
                if held is not False:
                    yield from _walk(body, package, optional, later)
                if held is not True:
                    yield from _walk(orelse, package, optional, later)
                yield from _calls([test], package, optional, later)
            case ast.Try() | ast.TryStar():
                guarded = any(_catches(handler) for handler in statement.handlers)
                yield from _walk(statement.body, package, optional or guarded, later)
                for handler in statement.handlers:
                    yield from _walk(handler.body, package, optional, later)
                yield from _walk(statement.orelse, package, optional, later)
                yield from _walk(statement.finalbody, package, optional, later)
            case ast.FunctionDef(body=body) | ast.AsyncFunctionDef(body=body):
                yield from _walk(body, package, optional, True)
            case ast.With(body=body) if _suppresses(statement):
                yield from _walk(body, package, True, later)
            case _:
                inner = list(ast.iter_child_nodes(statement))
                blocks = [each for each in inner if isinstance(each, ast.stmt)]
                for case in getattr(statement, "cases", ()):
                    blocks += case.body
                yield from _walk(blocks, package, optional, later)
                others = [each for each in inner if not isinstance(each, ast.stmt)]
                yield from _calls(others, package, optional, later)


def _calls(
    nodes: list[ast.expr] | list[ast.AST], package: str, optional: bool, later: bool
) -> Iterator[Import]:
    """importlib.import_module("name") and __import__("name")."""
    for top in nodes:
        for node in ast.walk(top):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = node.func.id if isinstance(node.func, ast.Name) else called
            name = node.args[0]
            if (
                called in ("import_module", "__import__")
                and isinstance(name, ast.Constant)
                and isinstance(name.value, str)
            ):
                level = len(name.value) - len(name.value.lstrip("."))
                yield Import(
                    _absolute(package, name.value.lstrip("."), level), "", optional, later
                )


def _absolute(package: str, name: str, level: int) -> str:
    if level == 0:
        return name
    base = package.split(".")
    base = base[: len(base) - level + 1]
    return ".".join([*base, name] if name else base)


def _holds(test: ast.expr) -> bool | None:
    """Whether a condition holds on every target; None: that is not known."""
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return False
        case ast.Compare(
            left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant("__main__")]
        ):
            # Self-tests of the standard library; of the daemon only the call of main().
            return False
        case ast.Compare(
            left=ast.Attribute(attr="platform" | "name"),
            ops=[operator],
            comparators=[ast.Constant(value=str(value))],
        ) if value in _FOREIGN:
            return {ast.Eq: False, ast.NotEq: True}.get(type(operator))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            held = _holds(operand)
            return None if held is None else not held
    return None


def _catches(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(kind, ast.Name) and kind.id in _GUARDS for kind in kinds)


def _suppresses(statement: ast.With) -> bool:
    return any(
        isinstance(item.context_expr, ast.Call)
        and ast.unparse(item.context_expr.func).endswith("suppress")
        and any(
            isinstance(name, ast.Name) and name.id in _GUARDS for name in item.context_expr.args
        )
        for item in statement.items
    )
