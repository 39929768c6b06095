# SPDX-License-Identifier: Apache-2.0
"""What runs inside another Python is asked and understood."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import bpfctl.bundle.python
import pytest
from bpfctl.bundle import BundleError, recipe
from bpfctl.bundle.python import Place, Python, compile_modules


class ThisPython(Python):
    """The Python that runs the tests in the place of a tree's."""

    def __init__(self) -> None:
        pass

    def run(self, arguments: Sequence[str], text: str = "") -> str:
        here = Path(bpfctl.bundle.python.__file__).parent
        return subprocess.run(
            [sys.executable, *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": str(here)},
        ).stdout


@pytest.fixture
def places(tmp_path: Path) -> list[Place]:
    (tmp_path / "own" / "app").mkdir(parents=True)
    (tmp_path / "own" / "app" / "__init__.py").write_text("")
    (tmp_path / "own" / "app" / "part.py").write_text("import sys, other, os\n")
    (tmp_path / "library").mkdir()
    for name in ("other", "os", "also"):
        (tmp_path / "library" / f"{name}.py").write_text("")
    return [Place("own", tmp_path / "own"), Place("library", tmp_path / "library", later=False)]


def _recipe(also: str) -> recipe.Recipe:
    return recipe.Recipe("s", "3.13", (), (), (also,), (), (), {}, b"")


def test_modules_are_compiled_and_told_with_their_places(
    places: list[Place], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    found = compile_modules(ThisPython(), places, [("own", "app")], _recipe("also"), output)
    assert [(each.name, each.place, each.path) for each in found] == [
        ("also", "library", "also.pyc"),
        ("app", "own", "app/__init__.pyc"),
        ("app.part", "own", "app/part.pyc"),
        ("os", "library", "os.pyc"),
        ("other", "library", "other.pyc"),
    ]
    assert all(each.file == output / each.path and each.file.exists() for each in found)
    assert found[4].source == places[1].folder / "other.py"
    assert not found[4].is_native


def test_an_import_that_cannot_be_met_is_named(places: list[Place], tmp_path: Path) -> None:
    (places[1].folder / "other.py").unlink()
    with pytest.raises(BundleError, match=r"app\.part imports other, which"):
        compile_modules(ThisPython(), places, [("own", "app")], _recipe("also"), tmp_path / "o")


def test_a_module_of_the_recipe_that_is_not_there(places: list[Place], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="recipe imports nothing, which"):
        compile_modules(ThisPython(), places, [("own", "app")], _recipe("nothing"), tmp_path)


def test_machines_that_cannot_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "sparc64")
    with pytest.raises(
        BundleError, match="not built on Linux sparc64; build on Linux for x86_64"
    ):
        Python.of_this_machine(recipe.load(), lambda what, done, total: None)
