# SPDX-License-Identifier: Apache-2.0
"""What goes with an object to a target whose kernel has no BTF."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from bpfctl.btf import Btf
from bpfctl.btf.kinds import Kind
from bpfctl.btf_store import BtfStore
from bpfctl.config import cache_dir
from bpfctl.errors import NotSupported
from bpfctl.kernelbtf import KernelBtfError, KernelBuild, Store, hosttools, reduce, shipping
from bpfctl.listing import target_row

from bpfd.v1 import target_pb2
from tests.clang import CLANG

from . import made

BPFTOOL = shutil.which("bpftool", path="/usr/bin:/usr/sbin:/sbin")
pytestmark = pytest.mark.skipif(
    not (CLANG and BPFTOOL), reason="needs clang with a BPF target, and bpftool"
)

HEAD = """
#define SEC(name) __attribute__((section(name), used))
struct task_struct { unsigned long start; } __attribute__((preserve_access_index));
struct sent { unsigned long value; };
char LICENSE[] SEC("license") = "GPL";
"""
READS = 'SEC("raw_tp/sys_enter") int reads(struct task_struct *t) { return t->start; }\n'
PLAIN = 'SEC("xdp") int plain(void *ctx) { return 2; }\n'
LOCAL = (
    'SEC("xdp") int local(void *ctx) '
    "{ return __builtin_btf_type_id(*(struct sent *)0, 0) ? 2 : 1; }\n"
)
FENTRY = 'SEC("fentry/do_exit") int leaves(void *ctx) { return 0; }\n'
OPTIONAL = READS.replace("raw_tp/", "?raw_tp/")

BUILD = KernelBuild("arm", made.RELEASE, made.VERSION)
INFO = target_pb2.TargetInfo(
    machine="armv7l",
    kernel_release=made.RELEASE,
    kernel_version=made.VERSION,
    kernel_build_id=bytes(20),
)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFCTL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path / "cache"))


def compiled(*programs: str) -> bytes:
    command = [CLANG, "-target", "bpf", "-g", "-O2", "-x", "c", "-", "-c", "-o", "/dev/stdout"]
    text = HEAD + "".join(programs)
    return subprocess.run(command, input=text.encode(), check=True, stdout=-1).stdout


def test_only_what_the_object_refers_to_is_sent() -> None:
    entry = Store().add(BUILD, made.WHOLE, "a file")
    sent = shipping.for_object(compiled(READS), "board", INFO)
    assert len(sent) < 300 < len(made.WHOLE)
    parsed = Btf.parse(sent)
    assert parsed.find("task_struct", Kind.STRUCT) is not None
    assert parsed.find("filler1") is None
    assert parsed.pointer_size == 4
    kept = list((cache_dir() / "btf" / "min").iterdir())
    assert [path.read_bytes() for path in kept] == [sent]
    kept[0].write_bytes(b"from the cache")
    assert shipping.for_object(compiled(READS), "board", INFO) == b"from the cache"
    assert entry.size == len(made.WHOLE)


@pytest.mark.parametrize("programs", [(PLAIN,), (LOCAL,), (PLAIN, OPTIONAL)])
def test_nothing_is_asked_of_objects_that_need_none(programs: tuple[str, ...]) -> None:
    assert shipping.for_object(compiled(*programs), "board", INFO) == b""


def test_programs_that_are_left_out_need_none() -> None:
    elf = compiled(PLAIN, READS)
    assert shipping.for_object(elf, "board", INFO, skip=["reads"]) == b""
    with pytest.raises(NotSupported):
        shipping.for_object(elf, "board", INFO)
    with pytest.raises(NotSupported):
        shipping.for_object(compiled(PLAIN, OPTIONAL), "board", INFO, also=["reads"])


def test_kernels_with_btf_get_none() -> None:
    info = target_pb2.TargetInfo(btf_sha256=bytes(32))
    assert shipping.for_object(compiled(READS), "board", info) == b""


def test_an_unknown_kernel_is_told_how_to_get_it() -> None:
    with pytest.raises(NotSupported) as caught:
        shipping.for_object(compiled(READS), "board", INFO)
    assert "`bpfctl btf fetch -t board`" in caught.value.needs
    assert "`bpfctl btf add FILE --for board`" in caught.value.needs
    with pytest.raises(NotSupported, match="`bpfctl btf fetch`"):
        shipping.for_object(compiled(READS), "local", INFO)


def test_programs_that_the_kernel_attaches_by_btf_are_refused() -> None:
    Store().add(BUILD, made.WHOLE, "a file")
    with pytest.raises(NotSupported) as caught:
        shipping.for_object(compiled(FENTRY, PLAIN), "board", INFO)
    assert "fentry, the kind of program leaves (fentry/do_exit)" in caught.value.feature
    assert "--no-program leaves" in caught.value.needs
    assert shipping.for_object(compiled(FENTRY, PLAIN), "b", INFO, skip=["leaves"]) == b""


def test_damaged_objects_are_left_to_the_daemon() -> None:
    assert shipping.for_object(compiled(READS)[:900] + b".BTF.ext", "board", INFO) == b""


def test_a_bpftool_that_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store().add(BUILD, made.WHOLE, "a file")
    broken = tmp_path / "bpftool"
    broken.write_text("#!/bin/sh\necho Error: no such thing >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("BPFCTL_BPFTOOL", str(broken))
    with pytest.raises(KernelBtfError, match=r"no such thing.*BPFCTL_BPFTOOL"):
        shipping.for_object(compiled(READS), "board", INFO)


@pytest.mark.parametrize(("order", "size"), [("<", 4), (">", 8)])
def test_the_size_of_pointers_is_told(order: str, size: int) -> None:
    strings = b"\0int\0"
    types = struct.pack(f"{order}IIII", 1, 1 << 24, 4, 32)
    sizes = (0, len(types), len(types), len(strings))
    blob = struct.pack(f"{order}HBBI4I", 0xEB9F, 1, 0, 24, *sizes) + types + strings
    told = reduce.with_long(blob, size)
    assert Btf.parse(told).pointer_size == size
    assert Btf.parse(told).find("int", Kind.INT) is not None
    assert reduce.with_long(told, size) == told


def test_headers_are_made_of_what_is_kept() -> None:
    store = BtfStore(None, INFO, "board")  # type: ignore[arg-type]
    assert store.kernel_sha256() == ""
    with pytest.raises(NotSupported, match="btf fetch -t board"):
        store.kernel_bytes()
    entry = Store().add(BUILD, made.WHOLE, "a file")
    store = BtfStore(None, INFO, "board")  # type: ignore[arg-type]
    assert store.kernel_sha256() == entry.sha256
    assert store.kernel_bytes() == made.WHOLE
    assert hosttools.version([str(BPFTOOL)]) >= hosttools.BPFTOOL.oldest


def test_a_target_says_where_its_types_come_from() -> None:
    assert target_row(INFO)["btf_from"] == ""
    entry = Store().add(BUILD, made.WHOLE, "a file")
    assert target_row(INFO)["btf_from"] == f"workstation ({entry.name})"
    assert target_row(target_pb2.TargetInfo(btf_sha256=bytes(32)))["btf_from"] == "kernel"
