# SPDX-License-Identifier: Apache-2.0
"""Sources for kernels of other releases, architectures and word sizes, compiled here."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from bpfctl.btf import Btf
from bpfctl.build import BuildOptions, TargetFacts, build
from bpfctl.elf import ObjectFile
from bpfctl.kernelbtf import Store, debian, reduce
from bpfctl.package import load_package

from tests.kernel import debian_kernels

ROOT = Path(__file__).parents[2]

MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l", "riscv64": "riscv64"}

KERNELS = [
    (suite, arch)
    for suite in ("bookworm", "trixie", "sid")
    for arch in ("amd64", "arm64", "armhf")
    if (suite, arch) != ("sid", "armhf")
]

COMPILERS = [path for name in ("clang-16", "clang-19") if (path := shutil.which(name))]

SOURCES = (
    ROOT / "tests" / "vm" / "words.bpf.c",
    load_package(str(ROOT / "bpf" / "tcplife")).source_path(None),
)


@pytest.mark.skipif(not COMPILERS, reason="needs clang-16 or clang-19")
@pytest.mark.parametrize(("suite", "arch"), KERNELS)
def test_sources_compile_against_the_types_of(
    suite: str, arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = debian_kernels.kernel(suite, arch)
    bits = 32 if arch == "armhf" else 64
    sha256 = hashlib.sha256(kernel.btf).hexdigest()
    facts = TargetFacts(MACHINES[arch], False, bits, sha256, kernel_has_btf=arch != "armhf")
    for compiler in COMPILERS:
        monkeypatch.setenv("BPFCTL_CLANG", compiler)
        for source in SOURCES:
            made = build(source, facts, lambda: kernel.btf, options=BuildOptions())
            assert made.warnings == ""
            assert reduce.needs_btf(ObjectFile.parse(made.object))


@pytest.mark.parametrize(("suite", "arch"), KERNELS)
def test_little_of_the_types_is_needed(suite: str, arch: str, tmp_path: Path) -> None:
    if not COMPILERS:
        pytest.skip("needs clang-16 or clang-19")
    kernel = debian_kernels.kernel(suite, arch)
    bits = 32 if arch == "armhf" else 64
    sha256 = hashlib.sha256(kernel.btf).hexdigest()
    facts = TargetFacts(MACHINES[arch], False, bits, sha256)
    path = tmp_path / "btf"
    path.write_bytes(kernel.btf)
    for source in SOURCES:
        sent = reduce.reduced(build(source, facts, lambda: kernel.btf).object, path, sha256)
        assert len(sent) < 2000
        parsed = Btf.parse(sent)
        assert parsed.pointer_size == bits // 8


@pytest.mark.skipif(not debian_kernels.DOWNLOADS, reason="downloads up to 700 MB")
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("suite", "arch"), [("bookworm", "amd64"), ("bookworm", "armhf")])
def test_types_are_fetched_by_what_a_kernel_says_of_itself(
    suite: str, arch: str, tmp_path: Path
) -> None:
    kernel = debian_kernels.kernel(suite, arch)
    found = debian.fetch(kernel.build)
    assert found.kernel.btf == kernel.btf
    entry = Store(tmp_path).add(found.kernel.build, found.kernel.btf, found.source)
    assert Store(tmp_path).find(kernel.build) == entry
