# SPDX-License-Identifier: Apache-2.0
"""Values of the board's kernel, read by a source that knows nothing of its word size; on a
kernel without BTF with what is kept of it on the workstation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from bpfctl.build import NoKernelTypes, build
from bpfctl.errors import BpfctlError, NotSupported
from bpfctl.facts import facts_of
from bpfctl.kernelbtf import KernelBuild, Store, debian
from bpfctl.objects import LoadSettings
from bpfctl.target import Target

from tests.clang import CLANG
from tests.vm.ready import ReadyBoard

SOURCE = Path(__file__).with_name("words.bpf.c")
DOWNLOADS = "BPFD_TEST_DOWNLOADS"
"""Environment variable: set to 1, tests may download some 700 MB."""

pytestmark = pytest.mark.skipif(not CLANG, reason="needs clang with a BPF target")

SCRIPT = (
    "cat /no-such-file /proc/self/stat /proc/self/syscall 2>/dev/null;"
    " head -n 1 /proc/self/status >/dev/null"
)


@pytest.fixture
def known(board: ReadyBoard) -> None:
    """BTF of the board's kernel, there or here."""
    with board.target() as target:
        info = target.info()
    if info.btf_sha256 or Store().find(KernelBuild.of(info)):
        return
    if os.environ.get(DOWNLOADS) != "1":
        pytest.skip(
            f"no BTF in this kernel, and none kept here: {DOWNLOADS}=1 fetches it (700 MB)"
        )
    build_ = KernelBuild.of(info)
    found = debian.fetch(build_)
    Store().add(build_.completed(found.kernel.build), found.kernel.btf, found.source)


def made(target: Target) -> bytes:
    built = build(SOURCE, facts_of(target), target.btf.kernel_bytes)
    assert built.warnings == ""
    return built.object


def words(target: Target, pid: int) -> dict[str, Any]:
    value = target.map("words/seen").get(pid)
    assert isinstance(value, dict)
    return value


@pytest.mark.usefixtures("known")
def test_values_are_those_of_proc(board: ReadyBoard) -> None:
    with board.target() as target, target.load(made(target), "words") as loaded:
        for program, point in (
            ("entered", "raw_tracepoint:sys_enter"),
            ("left", "raw_tracepoint:sys_exit"),
            ("left_by_tracepoint", "tracepoint:raw_syscalls/sys_exit"),
        ):
            loaded.attach(program, point)
        said = board.try_(SCRIPT).text.splitlines()
        stat = said[0].rsplit(")", 1)[1].split()
        found = words(target, int(said[0].split()[0]))
    # Fields 28 and 19 of proc(5), behind the name.
    start_stack, nice = int(stat[25]), int(stat[16])
    ways = ("chased", "chased_into", "core", "probed", "typed")
    assert {way: found[way] for way in ways} == dict.fromkeys(ways, start_stack)
    assert found["mm"] == found["mm_core"] == found["mm_into"] != 0
    assert found["nice"] == nice
    assert found["comm"] == "cat"
    assert found["parent"]
    if target.info().pointer_bits == 32:
        assert max(found["mm"], found["task"], found["instruction"]) < 1 << 32
    assert (found["tracepoint_result"], found["raw_result"]) == (-2, -2)


@pytest.mark.usefixtures("known")
def test_arguments_of_kprobes(board: ReadyBoard) -> None:
    settings = LoadSettings(also=["opening", "opened"])
    with (
        board.target() as target,
        target.load(made(target), "words", settings=settings) as loaded,
    ):
        try:
            loaded.attach("opening", "kprobe:do_sys_openat2")
            loaded.attach("opened", "kretprobe:do_sys_openat2")
        except BpfctlError as error:
            pytest.skip(f"no kprobes here: {error}")
        said = board.try_(SCRIPT).text.splitlines()
        stat = said[0].rsplit(")", 1)[1].split()
        found = words(target, int(said[0].split()[0]))
    if not (found["path"] or found["returned"]):
        pytest.skip("this kernel opens files by another function than do_sys_openat2()")
    assert found["returned"] == -2
    # The name is one of the program's arguments, above its stack's start.
    assert int(stat[25]) < found["path"] < int(stat[25]) + (128 << 10)


def test_what_a_kernel_without_btf_is_told(
    board: ReadyBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BPFCTL_DATA_DIR", str(tmp_path))
    with board.target() as target:
        if target.info().btf_sha256:
            pytest.skip("this kernel has BTF")
        with pytest.raises(NoKernelTypes, match=f"`bpfctl btf fetch -t {board.name}`"):
            build(SOURCE, facts_of(target), target.btf.kernel_bytes)
        elf = _compiled(tmp_path, 'SEC("raw_tp/sys_enter")', "return task->pid;")
        with pytest.raises(NotSupported, match=f"`bpfctl btf fetch -t {board.name}`"):
            target.load(elf, "words")
        elf = _compiled(tmp_path, 'SEC("fentry/do_sys_openat2")', "return 0;")
        with pytest.raises(NotSupported, match="fentry, the kind of program reads"):
            target.load(elf, "words")
        elf = _compiled(tmp_path, 'SEC("xdp")', "return 2;")
        with target.load(elf, "words") as loaded:
            assert list(loaded.programs) == ["reads"]


def _compiled(folder: Path, section: str, body: str) -> bytes:
    """An object that has its own idea of a task."""
    import subprocess

    text = (
        "#define SEC(name) __attribute__((section(name), used))\n"
        "struct task_struct { int pid; } __attribute__((preserve_access_index));\n"
        'char LICENSE[] SEC("license") = "GPL";\n'
        f"{section} int reads(struct task_struct *task) {{ {body} }}\n"
    )
    out = folder / "one.o"
    command = [CLANG, "-target", "bpf", "-g", "-O2", "-x", "c", "-", "-c", "-o", str(out)]
    subprocess.run(command, input=text.encode(), check=True)
    return out.read_bytes()
