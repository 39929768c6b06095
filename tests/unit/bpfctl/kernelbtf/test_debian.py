# SPDX-License-Identifier: Apache-2.0
"""Which packages have the BTF of a kernel of Debian."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from bpfctl.debian import ArchiveError, Package
from bpfctl.kernelbtf import KernelBtfError, KernelBuild, debian, files
from bpfctl.kernelbtf.debian import DebianKernel
from bpfctl.kernelbtf.files import Found
from bpfctl.kernelbtf.image import Kernel

from . import made

ARMHF = KernelBuild("arm", made.RELEASE, made.VERSION, "4859")
AMD64 = KernelBuild(
    "x86",
    "6.12.107+deb13-cloud-amd64",
    "#1 SMP PREEMPT_DYNAMIC Debian 6.12.107-1 (2026-08-01)",
)
SID = KernelBuild("arm64", "7.2.13+deb14-arm64", "#1 SMP Debian 7.2.13-1 (2026-11-01)")


def test_kernels_of_debian_are_known_by_their_version() -> None:
    kernel = DebianKernel.of(ARMHF)
    assert kernel is not None
    assert (kernel.version, kernel.arch, kernel.suites[0]) == ("6.1.176-1", "armhf", "bookworm")
    kernel = DebianKernel.of(AMD64)
    assert kernel is not None
    assert (kernel.version, kernel.arch, kernel.suites[0]) == ("6.12.107-1", "amd64", "trixie")
    kernel = DebianKernel.of(SID)
    assert kernel is not None
    assert kernel.suites[0] == "forky"
    assert sorted(kernel.suites) == sorted(debian.SUITES)


@pytest.mark.parametrize(
    "build",
    [
        KernelBuild("x86", "6.8.0-31-generic", "#31-Ubuntu SMP PREEMPT_DYNAMIC Sat Apr 20"),
        KernelBuild("arm", "5.15.32-v7+", "#1538 SMP Thu Mar 31 19:38:48 BST 2022"),
        KernelBuild("sparc", "6.1.0-50-sparc64", made.VERSION),
    ],
)
def test_other_kernels_are_not(build: KernelBuild) -> None:
    assert DebianKernel.of(build) is None
    with pytest.raises(KernelBtfError, match=r"no kernel that Debian built.*btf add FILE"):
        debian.fetch(build)


class FakeArchive:
    """An archive with a few packages, that counts what is downloaded."""

    has: ClassVar[dict[str, set[str]]] = {}
    broken: ClassVar[bool] = False
    downloaded: ClassVar[list[str]] = []
    forgotten: ClassVar[list[str]] = []

    def __init__(self, suite: str, arch: str) -> None:
        self.suite, self.arch = suite, arch

    def packages(self, name: str) -> list[Package]:
        if self.broken:
            raise ArchiveError("there is no apt-get", "use a container")
        if name == "base-files":
            return []
        if name not in self.has.get(self.suite, set()):
            raise ArchiveError("nothing")
        plain, _, version = name.partition("=")
        return [Package(plain, version, self.arch, 1, "")]

    def download(self, packages: Sequence[Package], progress: object) -> dict[str, Path]:
        self.downloaded.append(f"{self.suite} {packages[0].name}")
        return {packages[0].name: Path(packages[0].name)}

    def forget(self, packages: Sequence[Package]) -> None:
        self.forgotten.append(packages[0].name)


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> type[FakeArchive]:
    monkeypatch.setattr(debian, "Archive", FakeArchive)
    monkeypatch.setattr(FakeArchive, "has", {})
    monkeypatch.setattr(FakeArchive, "broken", False)
    monkeypatch.setattr(FakeArchive, "downloaded", [])
    monkeypatch.setattr(FakeArchive, "forgotten", [])
    return FakeArchive


def test_kernels_without_btf_take_the_debug_package(
    archive: type[FakeArchive], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"linux-image-{made.RELEASE}-dbg"
    archive.has = {"trixie": {f"{name}=6.1.176-1"}}
    found = Found(Kernel(ARMHF, made.WHOLE), "package")
    monkeypatch.setattr(files, "from_package", lambda *_: found)
    fetched = debian.fetch(ARMHF)
    assert fetched.kernel == found.kernel
    assert fetched.source == f"Debian trixie, {name} 6.1.176-1"
    assert archive.downloaded == [f"trixie {name}"]
    assert archive.forgotten == [name]


def test_others_the_image_first(
    archive: type[FakeArchive], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, debug = f"linux-image-{AMD64.release}", f"linux-image-{AMD64.release}-dbg"
    archive.has = {"trixie": {f"{image}=6.12.107-1", f"{debug}=6.12.107-1"}}
    seen = []

    def read(path: Path, _: object) -> Found:
        seen.append(path.name)
        if path.name == image:
            raise KernelBtfError("no kernel in it")
        return Found(Kernel(AMD64, made.WHOLE), "package")

    monkeypatch.setattr(files, "from_package", read)
    assert debian.fetch(AMD64).kernel.btf == made.WHOLE
    assert seen == [image, debug]
    assert archive.forgotten == [image, debug]


def test_a_kernel_that_the_archive_has_no_longer(archive: type[FakeArchive]) -> None:
    with pytest.raises(KernelBtfError) as caught:
        debian.fetch(ARMHF)
    assert "6.1.176-1 of bookworm" in str(caught.value)
    assert "btf add" in caught.value.hint


def test_an_archive_that_cannot_be_asked(archive: type[FakeArchive]) -> None:
    archive.broken = True
    with pytest.raises(KernelBtfError, match="cannot be asked: there is no apt-get") as caught:
        debian.fetch(ARMHF)
    assert caught.value.hint == "use a container"


def test_a_package_of_another_build_is_not_taken(
    archive: type[FakeArchive], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.has = {"bookworm": {f"linux-image-{made.RELEASE}-dbg=6.1.176-1"}}
    other = KernelBuild("arm", made.RELEASE, made.VERSION, "0000")
    found = Found(Kernel(other, made.WHOLE), "package")
    monkeypatch.setattr(files, "from_package", lambda *_: found)
    with pytest.raises(KernelBtfError, match=r"is of 6\.1\.0-50-armmp"):
        debian.fetch(ARMHF)
