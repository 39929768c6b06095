# SPDX-License-Identifier: Apache-2.0
"""The manifest names every component and every file."""

from __future__ import annotations

import json

from bpfctl.bundle.manifest import Component, manifest


def test_components_and_files_are_sorted() -> None:
    components = [
        Component("libc6", "2.41", "libc6_2.41_arm64.deb", "12", ("licenses/libc6/copyright",)),
        Component("bpfd", "1.0", "", "34", ()),
    ]
    text = manifest(
        version="1.0",
        arch="arm64",
        python="3.13",
        components=components,
        files={"lib/b": b"", "lib/a": b"abc"},
    )
    table = json.loads(text)
    assert table["architecture"] == "arm64"
    assert [each["name"] for each in table["components"]] == ["bpfd", "libc6"]
    assert table["components"][1] == {
        "name": "libc6",
        "version": "2.41",
        "file": "libc6_2.41_arm64.deb",
        "sha256": "12",
        "licenses": ["licenses/libc6/copyright"],
    }
    assert list(table["files"]) == ["lib/a", "lib/b"]
    assert table["files"]["lib/a"].startswith("ba7816bf")
