# SPDX-License-Identifier: Apache-2.0
"""All that modules need is found, and what cannot be found is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl.bundle.inside.closure import Closure, Finder, Place, modules_below


def _write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def places(tmp_path: Path) -> list[Place]:
    own, site, library = (tmp_path / name for name in ("own", "site", "library"))
    (library / "dynload").mkdir(parents=True)
    _write(
        own, **{"app/__init__.py": "", "app/part.py": "import wheel\ndef f():\n  import late"}
    )
    _write(site, **{"wheel/__init__.py": "from . import sub, thing\nfrom name.space import x"})
    _write(site, **{"wheel/sub.py": "import library, sys\ndef f():\n  import windows"})
    _write(site, **{"wheel/unused.py": "", "name/space.py": "x = 1"})
    _write(library, **{"library.py": "import collections.abc, _fast\ndef f(): import rare"})
    _write(library, **{"_collections_abc.py": "", "late.py": "", "rare.py": ""})
    (library / "dynload" / "_fast.cpython-313-x86_64-linux-gnu.so").touch()
    return [
        Place("own", own),
        Place("site", site),
        Place("library", library, later=False, extensions=library / "dynload"),
    ]


def _closure(places: list[Place], *never: str) -> Closure:
    finder = Finder(places, ("sys",), never)
    for name in modules_below(places[0].folder, "app"):
        assert finder.add(name)
    return finder.closure


def test_what_is_imported_is_found_and_no_more(places: list[Place]) -> None:
    closure = _closure(places)
    assert sorted(closure.found) == [
        "_collections_abc",
        "_fast",
        "app",
        "app.part",
        "late",
        "library",
        "name.space",
        "wheel",
        "wheel.sub",
    ]
    assert closure.missing == set()
    fast = closure.found["_fast"]
    assert not fast.is_source
    assert fast.file.parent.name == "dynload"
    assert closure.found["wheel"].is_package


def test_the_daemons_imports_must_all_be_met(places: list[Place]) -> None:
    (places[2].folder / "late.py").unlink()
    assert _closure(places).missing == {("app.part", "late")}


def test_so_must_what_others_import_at_once(places: list[Place]) -> None:
    (places[1].folder / "name" / "space.py").unlink()
    assert _closure(places).missing == {("wheel", "name.space")}


def test_what_is_left_out_is_not_missing(places: list[Place]) -> None:
    closure = _closure(places, "name", "_fast", "wheel.sub")
    assert closure.missing == set()
    assert sorted(closure.found) == ["app", "app.part", "late", "wheel"]


def test_unknown_names(places: list[Place]) -> None:
    finder = Finder(places, ("sys",), ())
    assert finder.add("sys")
    assert not finder.add("sys.below")
    assert not finder.add("nothing")
    assert not finder.add("wheel.nothing")
