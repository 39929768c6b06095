# SPDX-License-Identifier: Apache-2.0
"""`bpfctl btf dump`: types of the kernel, of programs and maps, also of other tools'."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clang import CLANG
from tests.kernel import cli_support
from tests.kernel.clang import compiled
from tests.kernel.cli_support import Cli, needs_clang
from tests.kernel.conftest import RunningDaemon

BPFTOOL = shutil.which("bpftool", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [
    needs_clang,
    pytest.mark.skipif(not BPFTOOL, reason="needs bpftool"),
    pytest.mark.skipif(
        not Path("/sys/kernel/btf/vmlinux").exists(), reason="this kernel has no BTF"
    ),
]


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Iterator[Cli]:
    found = cli_support.make(daemon, tmp_path)
    (tmp_path / "code.bpf.o").write_bytes(compiled("code"))
    found("load", str(tmp_path / "code.bpf.o"))
    yield found
    found("unload", "code")


def compiles(text: str, folder: Path) -> None:
    (folder / "types.c").write_text(text)
    subprocess.run([CLANG, "-target", "bpf", "-fsyntax-only", folder / "types.c"], check=True)


def test_types_of_the_kernel(cli: Cli, tmp_path: Path) -> None:
    whole = cli("btf", "dump")
    assert "struct task_struct {" in whole
    compiles(whole, tmp_path)
    one = cli("btf", "dump", "--type", "struct bpf_prog")
    assert len(one) < len(whole) / 20
    compiles(one, tmp_path)
    (row,) = cli.json("btf", "dump", "--type", "xdp_md")
    assert (row["kind"], row["vlen"]) == ("STRUCT", 6)
    raw = cli("btf", "dump", "--type", "pid_t", "--format", "raw", "--needed")
    assert [line.split()[1] for line in raw.splitlines()] == ["INT", "TYPEDEF", "TYPEDEF"]
    assert "did you mean task_struct" in cli.refused(4, "btf", "dump", "--type", "task_strct")
    assert "there is no BTF 'nothing'" in cli.refused(4, "btf", "dump", "--module", "nothing")


def test_types_of_programs_and_maps(cli: Cli, tmp_path: Path) -> None:
    program = cli.json("program", "show", "code/code_second")
    by_name = cli("btf", "dump", "--program", "code/code_second")
    assert "struct xdp_md {" in by_name
    compiles(by_name, tmp_path)
    assert cli("btf", "dump", "--id", str(program["btf_id"])) == by_name
    kernel = subprocess.run(
        [str(BPFTOOL), "-j", "btf", "dump", "id", str(program["btf_id"])],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    rows = cli("btf", "dump", "--program", "code/code_second", "-o", "jsonl").splitlines()
    assert len(rows) > 30
    assert all(row in kernel for row in rows)
    assert cli(
        "btf", "dump", "--map", "code/code_sums"
    ) == "typedef unsigned int __u32;\n\n" + ("typedef unsigned long long __u64;\n")
    source = tmp_path / "code.bpf.o"
    functions = cli.json("btf", "dump", "--file", str(source), "--kind", "func")
    assert {row["name"] for row in functions} >= {"code_first", "code_static"}
    assert "only one" in cli.refused(2, "btf", "dump", "--map", "a", "--program", "b")
