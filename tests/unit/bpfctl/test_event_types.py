# SPDX-License-Identifier: Apache-2.0
"""Which struct a ring's records are, by what compilers leave in the BTF."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from bpfctl.btf import Btf
from bpfctl.elf import ObjectFile
from bpfctl.errors import InvalidArgument
from bpfctl.event_types import guess, named

from tests.clang import CLANG

pytestmark = pytest.mark.skipif(not CLANG, reason="needs clang")


def btf_of(source: str, folder: Path) -> Btf:
    (folder / "x.c").write_text(source)
    command = [CLANG, "-target", "bpf", "-g", "-O2", "-c", "x.c", "-o", "x.o"]
    subprocess.run(command, check=True, cwd=folder)
    return Btf.parse(ObjectFile.parse((folder / "x.o").read_bytes()).btf)


def name_of(btf: Btf, type_id: int | None) -> str | None:
    return None if type_id is None else btf.type(type_id).name


KEPT = "struct {0} {{ int a; }};\nconst struct {0} *unused_{0} __attribute__((unused));\n"


def test_struct_with_the_name_of_the_map(tmp_path: Path) -> None:
    btf = btf_of(KEPT.format("drop") + KEPT.format("event"), tmp_path)
    assert name_of(btf, guess(btf, "drops")) == "drop"
    assert name_of(btf, guess(btf, "drop_events")) == "drop"


def test_the_one_type_that_a_variable_keeps(tmp_path: Path) -> None:
    btf = btf_of(KEPT.format("something") + "struct other { int b; } used;\n", tmp_path)
    assert name_of(btf, guess(btf, "rb")) == "something"


def test_struct_event(tmp_path: Path) -> None:
    source = 'struct event { int a; };\n__attribute__((section("xdp")))\n'
    source += "int f(struct event *e) { return e->a; }\n"
    btf = btf_of(source, tmp_path)
    assert name_of(btf, guess(btf, "rb")) == "event"
    assert guess(btf, "rb", others=1) is None


def test_nothing_speaks_for_any(tmp_path: Path) -> None:
    btf = btf_of(KEPT.format("one") + KEPT.format("two"), tmp_path)
    assert guess(btf, "ring") is None


def test_named_types(tmp_path: Path) -> None:
    btf = btf_of(KEPT.format("drop"), tmp_path)
    assert named(btf, "struct drop") == named(btf, "drop")
    with pytest.raises(InvalidArgument, match="did you mean drop"):
        named(btf, "drip")
