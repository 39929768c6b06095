# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl.cli.root import run
from bpfctl.profiles import files

from tests.unit.bpfctl.profiles import made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    files.write(made.small(), tmp_path / "a.pb.gz")
    files.write(made.small(), tmp_path / "a.folded")
    return tmp_path


def test_convert(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", "convert", "a.pb.gz", "b.folded"]) == 0
    assert (folder / "b.folded").read_text() == (folder / "a.folded").read_text()
    assert capsys.readouterr().out == "written: b.folded\n"
    assert run(["profile", "convert", "a.folded", "b.svg", "--unit", "bytes"]) == 0
    assert "100 bytes" in (folder / "b.svg").read_text()


def test_diff(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", "diff", "a.folded", "a.pb.gz", "-o", "d.svg"]) == 0
    assert "against a.folded" in (folder / "d.svg").read_text()
    assert run(["profile", "diff", "a.folded", "a.pb.gz", "-o", "d.pb.gz"]) == 2
    assert "written as .html or .svg" in capsys.readouterr().err


def test_wrong_usage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        (["convert", "a.folded", "b.png"], "profiles are written as .html"),
        (["convert", "none", "b.svg"], "'none' does not exist"),
        (["-o", "x.png"], "neither one of table, json"),
        (["-o", "none/x.svg"], "there is no folder none"),
        (["convrt"], "Did you mean convert?"),
    ):
        assert run(["profile", *arguments]) == 2, arguments
        assert said in capsys.readouterr().err
