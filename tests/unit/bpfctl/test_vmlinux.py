# SPDX-License-Identifier: Apache-2.0
"""vmlinux.h: made once for each kernel, and only for sources that include it."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import struct
from pathlib import Path

import pytest
from bpfctl.build import BuildOptions, CompileError, NoKernelTypes, TargetFacts, build
from bpfctl.elf import ObjectFile
from bpfctl.kernelbtf import KernelBtfError, hosttools
from bpfctl.vmlinux import dump_header, find_bpftool, header_folder, narrow_longs, wrap

from tests.clang import CLANG
from tests.unit.bpfctl.kernelbtf import made

BPFTOOL = shutil.which("bpftool", path="/usr/bin:/usr/sbin:/sbin")
pytestmark = pytest.mark.skipif(BPFTOOL is None, reason="needs bpftool")


def kernel_btf(member: str) -> bytes:
    """Raw BTF of `struct sample { int <member>; };`."""
    strings = b"\0int\0sample\0" + member.encode() + b"\0"
    types = struct.pack("<IIII", 1, 1 << 24, 4, 0x01000020)
    types += struct.pack("<III", 5, 4 << 24 | 1, 4) + struct.pack("<III", 12, 1, 0)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + strings


def embedding_btf() -> bytes:
    """BTF of a kernel built with -fms-extensions: a struct that embeds a named one.

    `struct head { int count; }; struct sample { struct head; int old; };`
    """
    strings = b"\0int\0head\0count\0sample\0old\0"
    types = struct.pack("<IIII", 1, 1 << 24, 4, 0x01000020)
    types += struct.pack("<III", 5, 4 << 24 | 1, 4) + struct.pack("<III", 10, 1, 0)
    types += struct.pack("<III", 16, 4 << 24 | 2, 8)
    types += struct.pack("<III", 0, 2, 0) + struct.pack("<III", 23, 1, 32)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + strings


def facts(btf: bytes, bits: int = 64) -> TargetFacts:
    return TargetFacts("x86_64", False, bits, hashlib.sha256(btf).hexdigest())


class Kernel:
    """A target that counts how often its BTF is fetched."""

    def __init__(self, btf: bytes) -> None:
        self.btf = btf
        self.fetched = 0

    def fetch(self) -> bytes:
        self.fetched += 1
        return self.btf


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not CLANG:
        pytest.skip("needs clang")
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "sample.bpf.c"
    path.write_text(
        '#include "vmlinux.h"\n'
        '__attribute__((section("xdp"), used)) int p(struct sample *s) { return s->old; }\n'
    )
    return path


def test_the_header_is_made_from_the_targets_types(tmp_path: Path) -> None:
    text = dump_header(tmp_path, kernel_btf("old"))
    assert "struct sample {\n\tint old;\n};" in text
    assert "preserve_access_index" in text
    assert text.startswith("#ifndef __VMLINUX_H__")
    assert list(tmp_path.iterdir()) == []


def test_each_kernel_has_its_own(source: Path) -> None:
    old, new = Kernel(kernel_btf("old")), Kernel(kernel_btf("new"))
    assert not build(source, facts(old.btf), old.fetch).cached
    assert build(source, facts(old.btf), old.fetch).cached
    assert old.fetched == 1
    with pytest.raises(CompileError, match="no member named 'old'"):
        build(source, facts(new.btf), new.fetch)
    assert new.fetched == 1
    again = build(source, facts(old.btf), old.fetch)
    assert again.cached
    assert old.fetched == 1


def test_embedded_structs_of_newer_kernels(source: Path) -> None:
    kernel = Kernel(embedding_btf())
    source.write_text(source.read_text().replace("s->old", "s->old + s->count"))
    built = build(source, facts(kernel.btf), kernel.fetch)
    assert built.warnings == ""
    relocations = ObjectFile.parse(built.object).core_relocations["xdp"]
    assert {relocation.what for relocation in relocations} == {
        "struct sample.old",
        "struct sample.count",
    }


def test_an_object_without_it_serves_every_kernel(source: Path) -> None:
    source.write_text('__attribute__((section("xdp"), used)) int p(void *ctx) { return 1; }')
    old, new = Kernel(kernel_btf("old")), Kernel(kernel_btf("new"))
    assert not build(source, facts(old.btf), old.fetch).cached
    assert build(source, facts(new.btf), new.fetch).cached
    assert old.fetched == new.fetched == 0


def test_it_is_found_behind_another_header(source: Path) -> None:
    (source.parent / "common.h").write_text("#include <vmlinux.h>\n")
    source.write_text(source.read_text().replace("vmlinux.h", "common.h"))
    old = Kernel(kernel_btf("old"))
    assert not build(source, facts(old.btf), old.fetch).cached
    assert build(source, facts(old.btf), old.fetch).cached
    assert old.fetched == 1


def test_a_torn_header_is_made_again(source: Path, tmp_path: Path) -> None:
    old = Kernel(kernel_btf("old"))
    sha256 = facts(old.btf).btf_sha256
    folder = header_folder(tmp_path, sha256, old.fetch)
    whole = (folder / "vmlinux.h").read_bytes()
    (folder / "vmlinux.h").write_bytes(whole[:100])
    assert header_folder(tmp_path, sha256, old.fetch) == folder
    assert (folder / "vmlinux.h").read_bytes() == whole
    assert old.fetched == 2


def test_types_of_another_kernel_are_refused(tmp_path: Path) -> None:
    kernel = Kernel(kernel_btf("new"))
    with pytest.raises(NoKernelTypes, match="did it boot another kernel"):
        header_folder(tmp_path, facts(kernel_btf("old")).btf_sha256, kernel.fetch)
    assert not list(tmp_path.rglob("vmlinux.h"))


def test_bytes_that_are_no_btf_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NoKernelTypes, match="cannot turn the target's BTF into"):
        dump_header(tmp_path, b"nonsense" * 20)


LONGS = """
struct sample {
	long unsigned int a; long int b; unsigned long c; long d; const long unsigned int *e;
	long long unsigned int f; long long int g; unsigned long long h; long long i;
	atomic_long_t j; long: 32; long unsigned int k: 3;
};
"""
NARROW = """
struct sample {
	unsigned int a; int b; unsigned int c; int d; const unsigned int *e;
	long long unsigned int f; long long int g; unsigned long long h; long long i;
	atomic_long_t j; int: 32; unsigned int k: 3;
};
"""


def test_longs_of_32_bit_kernels_have_32_bits() -> None:
    assert narrow_longs(LONGS) == NARROW


@pytest.mark.parametrize(("size", "text"), [(4, "unsigned int start"), (8, "long start")])
def test_a_header_tells_the_size_of_longs(tmp_path: Path, size: int, text: str) -> None:
    header = dump_header(tmp_path, made.btf(long_bytes=size))
    assert text in header.replace("long unsigned int start", "long start")


@pytest.mark.skipif(not CLANG, reason="needs clang with a BPF target")
def test_sources_that_the_reads_of_32_bit_targets_do_not_fit(tmp_path: Path) -> None:
    source = tmp_path / "odd.bpf.c"
    source.write_text("int bpf_probe_read(int one);\nint x(void) { return 0; }\n")
    built = build(source, facts(b"", 32), lambda: b"")
    assert "does not compile with the macros" in built.warnings
    assert build(source, facts(b"", 64), lambda: b"").warnings == ""
    source.write_text("nonsense\n")
    with pytest.raises(CompileError, match="nonsense"):
        build(source, facts(b"", 32), lambda: b"")


@pytest.mark.skipif(not CLANG, reason="needs clang with a BPF target")
def test_a_copy_of_libbpf_beside_the_source_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "mine.bpf.c"
    source.write_text('#include "bpf_core_read.h"\nint x(void) { return 0; }\n')
    (tmp_path / "bpf_core_read.h").write_text("#define bpf_core_read(to, size, from) 0\n")
    warnings = build(source, facts(b"", 32), lambda: b"").warnings
    assert "has a bpf_core_read.h of its own" in warnings
    folder = tmp_path / "include" / "bpf"
    folder.mkdir(parents=True)
    (tmp_path / "bpf_core_read.h").rename(folder / "bpf_core_read.h")
    source.write_text("#include <bpf/bpf_core_read.h>\nint x(void) { return 0; }\n")
    options = BuildOptions(include_folders=(tmp_path / "include",))
    assert build(source, facts(b"", 32), lambda: b"", options=options).warnings == ""


def test_no_bpftool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFCTL_BPFTOOL", "/no/such/bpftool")
    with pytest.raises(NoKernelTypes, match="'/no/such/bpftool', which is no program"):
        find_bpftool()
    monkeypatch.delenv("BPFCTL_BPFTOOL")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(NoKernelTypes, match="apt install bpftool"):
        find_bpftool()


def test_a_bpftool_that_is_too_old_is_replaced_by_debians(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "bpftool"
    old.write_text("#!/bin/sh\necho Error: unknown kind 19 >&2; exit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(hosttools, "unpacked", lambda *_: [str(BPFTOOL)])
    assert "int moved" in dump_header(tmp_path, kernel_btf("moved"))

    def nothing(*_: object) -> list[str]:
        raise KernelBtfError("no archive")

    monkeypatch.setattr(hosttools, "unpacked", nothing)
    with pytest.raises(NoKernelTypes, match=r"unknown kind 19.*BPFCTL_BPFTOOL"):
        dump_header(tmp_path, kernel_btf("moved"))
    monkeypatch.setenv("BPFCTL_BPFTOOL", str(old))
    monkeypatch.setattr(hosttools, "unpacked", lambda *_: [str(BPFTOOL)])
    with pytest.raises(NoKernelTypes, match="unknown kind 19"):
        dump_header(tmp_path, kernel_btf("moved"))


def test_what_an_older_bpftool_leaves_out_is_added() -> None:
    bare = wrap("struct sample { int old; };\n")
    assert bare.count("#ifndef __VMLINUX_H__") == 1
    assert bare.count("attribute push") == bare.count("attribute pop") == 1
    assert wrap(bare) == bare


@pytest.mark.skipif(not CLANG, reason="needs clang with a BPF target")
def test_a_source_can_tell_a_kernel_without_btf(tmp_path: Path) -> None:
    source = tmp_path / "asks.bpf.c"
    source.write_text(
        "#ifdef BPFD_KERNEL_WITHOUT_BTF\n#warning without\n#endif\nint x(void) { return 0; }\n"
    )
    without = dataclasses.replace(facts(b""), kernel_has_btf=False)
    assert "without" in build(source, without, lambda: b"").warnings
    assert build(source, facts(b""), lambda: b"").warnings == ""
