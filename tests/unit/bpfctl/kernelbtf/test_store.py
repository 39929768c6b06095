# SPDX-License-Identifier: Apache-2.0
"""The store of BTF by kernel build."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.kernelbtf import KernelBtfError, KernelBuild, Store
from bpfctl.kernelbtf.identity import banner

from . import made

BUILD = KernelBuild("arm", made.RELEASE, made.VERSION, "48595b79")
OTHER = KernelBuild("arm", made.RELEASE, made.VERSION.replace("176", "177"))


def test_builds_match_by_build_id_else_by_release_and_version() -> None:
    unnamed = KernelBuild("arm", made.RELEASE, made.VERSION)
    assert BUILD.matches(unnamed)
    assert unnamed.matches(BUILD)
    assert BUILD.matches(KernelBuild(build_id="48595b79"))
    assert not BUILD.matches(KernelBuild("arm", made.RELEASE, made.VERSION, "00"))
    assert not BUILD.matches(OTHER)
    assert not unnamed.matches(KernelBuild("arm64", made.RELEASE, made.VERSION))
    assert unnamed.matches(KernelBuild("", made.RELEASE, made.VERSION))
    assert not KernelBuild(release=made.RELEASE).matches(unnamed)
    assert not KernelBuild().matches(KernelBuild())


def test_banners() -> None:
    assert banner(made.DRAFT + made.BANNER) == KernelBuild("", made.RELEASE, made.VERSION)
    assert banner(made.BANNER) == KernelBuild("", made.RELEASE, made.VERSION)
    assert banner(b"Linux version %s (%s@%s) (%s) %s\n") is None
    assert banner(b"") is None


def test_entries_are_kept_found_and_removed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.entries() == []
    assert store.find(BUILD) is None
    added = store.add(BUILD, made.WHOLE, "a file")
    again = Store(tmp_path / "store")
    found = again.find(KernelBuild("arm", made.RELEASE, made.VERSION))
    assert found == added
    assert found is not None
    assert (found.read(), found.size, found.source) == (made.WHOLE, len(made.WHOLE), "a file")
    assert again.find(OTHER) is None
    again.add(OTHER, made.btf(filler=3), "another")
    assert len(store.entries()) == 2
    with pytest.raises(InvalidArgument, match="is one of"):
        store.remove(made.RELEASE)
    assert store.remove(added.name) == added
    assert [entry.build for entry in store.entries()] == [OTHER]
    assert store.remove(made.RELEASE).build == OTHER
    assert os.listdir(store.folder) == [".lock"]
    with pytest.raises(NotFound, match="btf list"):
        store.remove("6.1")


def test_a_build_that_is_added_again_takes_the_place(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add(KernelBuild("arm", made.RELEASE, made.VERSION), made.WHOLE, "first")
    store.add(BUILD, made.btf(filler=2), "second")
    assert [entry.source for entry in store.entries()] == ["second"]
    found = store.find(BUILD)
    assert found is not None
    assert found.read() == made.btf(filler=2)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x7fELF" + bytes(60), "not BTF"),
        (made.WHOLE[:-1], "cut short"),
        (made.btf("nft_chain"), "no struct task_struct"),
    ],
)
def test_what_is_no_btf_of_a_kernel_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    store = Store(tmp_path)
    with pytest.raises(KernelBtfError, match=why):
        store.add(BUILD, data, "a file")
    assert store.entries() == []


def test_a_build_must_be_told_from_others(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="a release and a version"):
        Store(tmp_path).add(KernelBuild("arm", made.RELEASE), made.WHOLE, "a file")


def test_damage_is_noticed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    entry = store.add(BUILD, made.WHOLE, "a file")
    entry.path.write_bytes(made.WHOLE[:100])
    with pytest.raises(KernelBtfError, match=f"btf remove {entry.name}"):
        entry.read()
    (entry.path.parent / "entry.json").write_text("{")
    assert store.find(BUILD) is None
    store.add(BUILD, made.WHOLE, "again")
    assert store.entries()[0].read() == made.WHOLE


def _add(folder: Path, number: int) -> None:
    build = KernelBuild("arm", f"6.1.{number % 3}", made.VERSION)
    for _ in range(5):
        Store(folder).add(build, made.WHOLE, f"process {number}")


def test_several_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=_add, args=(tmp_path, number)) for number in range(3)]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
    assert [process.exitcode for process in running] == [0] * 3
    assert [entry.build.release for entry in Store(tmp_path).entries()] == [
        "6.1.0",
        "6.1.1",
        "6.1.2",
    ]
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".new")]
