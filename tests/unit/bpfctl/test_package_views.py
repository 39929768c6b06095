# SPDX-License-Identifier: Apache-2.0
"""[[views]] of package.toml: what is read, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl.package import PackageError, load_package

HEAD = """
name = "sample"
description = "One sentence."
version = "1.2.3"
license = "GPL-2.0-only"
source = "sample.bpf.c"

[[settings]]
name = "step"
description = "d"
type = "u64"

[[settings]]
name = "word"
description = "d"
type = "text"

[[views]]
map = "m"
description = "d"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "sample.bpf.c").write_text("")
    return folder


def test_a_view_is_read(folder: Path) -> None:
    text = 'kind = "histogram"\nkeys = ["disk", "flags"]\nunit = "us"\nstep = "step"\n'
    (folder / "package.toml").write_text(HEAD + text)
    package = load_package(folder)
    (view,) = package.views
    assert (view.name, view.kind, view.map) == ("m", "histogram", "m")
    assert (view.keys, view.unit, view.step) == (("disk", "flags"), "us", "step")
    assert package.resolve({"step": "7"}).values == {"step": 7}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "pie"', r"views\[0\].kind 'pie' is not one of histogram, table"),
        ('name = "v"', r"views\[v\].kind is missing"),
        ('kind = "histogram"\nunit = "hours"', r"views\[0\].unit 'hours' is not one of ns, us"),
        ('kind = "histogram"\nstep = "stepp"', r"step: there is no setting 'stepp'.*step\?"),
        ('kind = "histogram"\nstep = "word"', r"views\[m\].step: setting word is no integer"),
        ('kind = "histogram"\nstep = -1', r"views\[0\].step is out of range"),
        ('kind = "histogram"\nstep = 0.5', r"views\[0\].step is not a number or a setting"),
        ('kind = "histogram"\nkey = ["a"]', r"views\[0\].key is an unknown key.*keys\?"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, text: str, said: str) -> None:
    (folder / "package.toml").write_text(HEAD + text + "\n")
    with pytest.raises(PackageError, match=said):
        load_package(folder)
