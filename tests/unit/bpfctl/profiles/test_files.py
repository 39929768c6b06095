# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl.errors import InvalidArgument
from bpfctl.profiles import differential, files, folded, pprof, pprof_reading
from bpfctl.profiles.model import Profile

from tests.unit.bpfctl.profiles import made


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.html", "html"),
        ("A.SVG", "svg"),
        ("a.b.folded", "folded"),
        ("a.pb.gz", "pprof"),
        ("a.perfetto-trace", "perfetto"),
    ],
)
def test_names_say_the_format(name: str, format: str) -> None:
    assert files.format_of(Path(name)) == format


@pytest.mark.parametrize("name", ["a", "a.gz", "html", "a.png", "a.html.bak"])
def test_names_that_say_none(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"\.folded, \.pb\.gz"):
        files.format_of(Path(name))


def test_what_was_written_is_read_by_its_content(tmp_path: Path) -> None:
    for name in ("p.pb.gz", "p.folded"):
        files.write(made.small(), tmp_path / name)
    (tmp_path / "other").write_bytes((tmp_path / "p.pb.gz").read_bytes())
    assert files.read(tmp_path / "other") == pprof_reading.read(pprof.write(made.small()))
    read = files.read(tmp_path / "p.folded")
    assert read.title == "p.folded"
    assert list(folded.write(read)) == list(folded.write(made.small()))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["other", "p.folded", "p.pb.gz"]


def test_pictures(tmp_path: Path) -> None:
    files.write(made.small(), tmp_path / "p.svg")
    assert (tmp_path / "p.svg").read_text().startswith("<?xml")
    with pytest.raises(InvalidArgument, match="is a picture"):
        files.read(tmp_path / "p.svg")
    graph = differential.of(made.small(), made.small())
    files.write_graph(graph, tmp_path / "d.svg")
    assert "more than before" in (tmp_path / "d.svg").read_text()
    with pytest.raises(InvalidArgument, match="difference of two"):
        files.write_graph(graph, tmp_path / "d.folded")


def test_what_cannot_be_written_is_known_before(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="there is no folder"):
        files.check(tmp_path / "none" / "a.svg")
    (tmp_path / "a.svg").mkdir()
    with pytest.raises(InvalidArgument, match="is a folder"):
        files.check(tmp_path / "a.svg")


def test_a_file_stays_when_its_successor_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.folded"
    path.write_text("a 1\n")

    def fail(_: Profile) -> object:
        yield "half"
        raise OSError("no space left")

    monkeypatch.setattr(folded, "write", fail)
    with pytest.raises(OSError, match="no space"):
        files.write(made.small(), path)
    assert path.read_text() == "a 1\n"
    assert [each.name for each in tmp_path.iterdir()] == ["p.folded"]


def test_a_file_that_is_no_profile(tmp_path: Path) -> None:
    path = tmp_path / "p.folded"
    path.write_text("a;b 1\nnothing\n")
    with pytest.raises(InvalidArgument, match=r"p\.folded: line 2"):
        files.read(path)
