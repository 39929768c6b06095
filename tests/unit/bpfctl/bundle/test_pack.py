# SPDX-License-Identifier: Apache-2.0
"""The same contents give the same file."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from bpfctl.bundle import BundleError, pack
from bpfctl.bundle.pack import Content, archive, read_manifest


def _contents(folder: Path) -> dict[str, Content]:
    file = folder / "library"
    file.write_bytes(b"ELF")
    return {
        "lib/sub/library": Content(file),
        "bpfd": Content(b"#!/bin/sh\n", executable=True),
        "manifest.json": Content(b'{"name": "bpfd"}'),
    }


def test_order_owner_mode_and_time_are_fixed(tmp_path: Path) -> None:
    data = archive(_contents(tmp_path))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        entries = [
            (each.name, each.mode, each.uid, each.gid, each.mtime, each.uname)
            for each in tar.getmembers()
        ]
        library = tar.extractfile("bpfd/lib/sub/library")
        assert library is not None
        assert library.read() == b"ELF"
    assert entries == [
        ("bpfd", 0o755, 0, 0, 0, ""),
        ("bpfd/manifest.json", 0o644, 0, 0, 0, ""),
        ("bpfd/bpfd", 0o755, 0, 0, 0, ""),
        ("bpfd/lib", 0o755, 0, 0, 0, ""),
        ("bpfd/lib/sub", 0o755, 0, 0, 0, ""),
        ("bpfd/lib/sub/library", 0o644, 0, 0, 0, ""),
    ]


def test_neither_the_order_of_contents_nor_files_times_matter(tmp_path: Path) -> None:
    contents = _contents(tmp_path)
    first = archive(contents)
    (tmp_path / "library").touch()
    (tmp_path / "library").chmod(0o700)
    assert archive(dict(reversed(contents.items()))) == first


def test_the_manifest_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    pack.write(gzip.compress(archive(_contents(tmp_path))), path)
    assert read_manifest(path) == {"name": "bpfd"}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is no bundle"),
        (b"not gzip", "is no bundle"),
        (gzip.compress(b"not tar"), "is no bundle"),
        (gzip.compress(archive({"a": Content(b"")})), "it has no manifest"),
        (gzip.compress(archive({"manifest.json": Content(b"{")})), "is no bundle"),
    ],
)
def test_what_is_no_bundle(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(data)
    with pytest.raises(BundleError, match=says):
        read_manifest(path)


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "file"
    assert pack.write(b"abc", path).startswith("ba7816bf")
    assert path.read_bytes() == b"abc"
    assert [each.name for each in path.parent.iterdir()] == ["file"]
