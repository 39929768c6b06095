# SPDX-License-Identifier: Apache-2.0
"""Imports are read from the syntax, with whether the source can do without them."""

from __future__ import annotations

import pytest
from bpfctl.bundle.inside.imports import Import, imports_of


def _of(source: str, module: str = "own.part", is_package: bool = False) -> list[Import]:
    return imports_of(source.encode(), module, is_package)


def test_names_and_attributes() -> None:
    assert _of("import a.b as c, d\nfrom e import f, g as h\nfrom i import *\n") == [
        Import("a.b"),
        Import("d"),
        Import("e", "f"),
        Import("e", "g"),
        Import("i", "*"),
    ]


def test_relative_ones_are_made_absolute() -> None:
    assert _of("from . import a\nfrom .b import c\n") == [
        Import("own", "a"),
        Import("own.b", "c"),
    ]
    assert _of("from .. import a\n", "own.part.sub", is_package=True) == [
        Import("own.part", "a")
    ]
    assert _of("from . import a\n", "own", is_package=True) == [Import("own", "a")]


def test_inside_functions_and_classes() -> None:
    source = "class A:\n  import b\n  async def c(self):\n    import d\n"
    assert _of(source) == [Import("b"), Import("d", later=True)]


@pytest.mark.parametrize(
    "source",
    [
        "try:\n  import a\nexcept ImportError:\n  pass\n",
        "try:\n  import a\nexcept (OSError, ModuleNotFoundError):\n  pass\n",
        "try:\n  import a\nexcept:\n  pass\n",
        "with contextlib.suppress(ImportError):\n  import a\n",
    ],
)
def test_what_may_be_missing(source: str) -> None:
    assert _of(source) == [Import("a", optional=True)]


def test_what_stands_in_for_it_may_not() -> None:
    source = "try:\n  import a\nexcept ImportError:\n  import b\nelse:\n  import c\n"
    assert _of(source) == [Import("a", optional=True), Import("b"), Import("c")]
    assert _of("try:\n  import a\nfinally:\n  pass\n") == [Import("a")]


def test_other_systems_and_type_checkers_are_left_out() -> None:
    source = (
        "if TYPE_CHECKING:\n  import a\n"
        "if sys.platform == 'win32':\n  import b\nelse:\n  import c\n"
        "if os.name != 'nt':\n  import d\n"
        "if __name__ == '__main__':\n  import e\n"
        "if not typing.TYPE_CHECKING:\n  import f\n"
        "if something:\n  import g\nelif sys.platform == 'darwin':\n  import h\n"
    )
    assert [each.name for each in _of(source)] == ["c", "d", "f", "g"]


def test_modules_by_name() -> None:
    source = (
        "a = importlib.import_module('b.c')\n"
        "def d():\n  return __import__('e')\n"
        "match x:\n  case 1:\n    import f\n"
        "importlib.import_module(name)\n"
    )
    assert _of(source) == [Import("b.c"), Import("e", later=True), Import("f")]
