# SPDX-License-Identifier: Apache-2.0
"""`bpfctl program dump` and `program graph` of programs of all kinds, beside bpftool."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bpfd.kernel import syscall
from bpfd.kernel.constants import Cmd, ProgType
from bpfd.kernel.info import prog_info
from tests.kernel import cli_support
from tests.kernel.clang import compiled
from tests.kernel.cli_support import Cli, needs_clang
from tests.kernel.conftest import MakeDaemon, RunningDaemon

pytestmark = needs_clang

FIRST = "code/code_first"


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Iterator[Cli]:
    with loaded(daemon, tmp_path) as found:
        yield found


@contextmanager
def loaded(daemon: RunningDaemon, folder: Path) -> Iterator[Cli]:
    found = cli_support.make(daemon, folder)
    (folder / "code.bpf.o").write_bytes(compiled("code"))
    found("load", str(folder / "code.bpf.o"))
    yield found
    found("unload", "code")


def insn(opcode: int, registers: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhi", opcode, registers, offset, immediate)


@contextmanager
def raw_program(code: bytes, name: str) -> Iterator[int]:
    """The id of a program that has no BTF and no object, as of another tool."""
    fd = syscall.prog_load(ProgType.SOCKET_FILTER, code, "GPL", name=name)
    try:
        yield prog_info(fd).id
    finally:
        os.close(fd)


def members(cli: Cli, kind: str) -> dict[str, dict[str, Any]]:
    """Programs or maps of this test's object by name; others may be called the same."""
    return {row["name"]: row for row in cli.json(kind, "list") if row.get("object") == "code"}


def bpftool(*arguments: str) -> Any:
    if not shutil.which("bpftool", path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip("needs bpftool")
    done = subprocess.run(["bpftool", "-j", *arguments], check=True, capture_output=True)
    return json.loads(done.stdout)


def numbers(text: str) -> str:
    """Numbers in one form: bpftool writes some in hexadecimal, without sign."""
    return re.sub(
        r"(?<![\w.])([-+]?)(0x[0-9a-f]+|\d+)\b",
        lambda found: str(int(found[1] + str(int(found[2], 0))) & 0xFFFFFFFF),
        text,
    )


def as_ours(disassembly: str, row: dict[str, Any]) -> str:
    """bpftool's text with what we say differently, and names in place of numbers."""
    text = re.sub(r"^\([0-9a-f]{2}\) ", "", disassembly)
    text = re.sub(r"goto pc[-+]\d+", f"goto {row['target']}", text)
    text = re.sub(r"map\[id:(\d+)\]", lambda found: f"map[{row['map']}]", text)
    text = re.sub(r"call pc[-+]\d+#bpf_prog_[0-9a-f]{16}_(\w+)", r"call \1", text)
    text = re.sub(r"subprog\[[-+]\d+\]", f"&{row['callee']}", text)
    return re.sub(r"(call \w+)#-?\d+", r"\1", text)


UNKNOWN_THERE = re.compile(r"__percpu|\(s\d+\)|s[/%]=|bswap|gotol|\*\(s\d+|addr_space|may_goto")
"""Newer than bpftool 7.1, which shows something else."""


def compare(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> int:
    """How many instructions are the same in all words; the bytes of all must be."""
    assert len(ours) == len(theirs)
    same = 0
    for row, item in zip(ours, theirs, strict=True):
        code, registers, offset, immediate = struct.unpack_from(
            "=BBhi", bytes.fromhex(row["bytes"])
        )
        fields = item["opcodes"]
        assert int(fields["code"], 16) == code
        assert int(fields["dst_reg"], 16) | int(fields["src_reg"], 16) << 4 == registers
        assert bytes(int(each, 16) for each in fields["off"]) == struct.pack("=h", offset)
        wide = bytes(int(each, 16) for each in fields["imm"])
        assert wide[:4] == struct.pack("=i", immediate)
        if UNKNOWN_THERE.search(row["text"]):
            continue
        assert numbers(as_ours(item["disasm"], row)) == numbers(row["text"])
        same += 1
    return same


def test_every_instruction_is_as_bpftool_says(cli: Cli, tmp_path: Path) -> None:
    for name in ("objects", "cli", "events"):
        (tmp_path / f"{name}.bpf.o").write_bytes(compiled(name))
        cli("load", str(tmp_path / f"{name}.bpf.o"))
    programs = [row for row in cli.json("program", "list") if row.get("object")]
    assert len(programs) > 5
    same = 0
    for program in programs:
        number = str(program["id"])
        theirs = bpftool("prog", "dump", "xlated", "id", number, "opcodes")
        ours = cli.json("program", "dump", number)
        same += compare(ours, theirs)
        sources = [item["src"] for item in theirs if "src" in item]
        assert {text.strip() for text in sources} <= {row["source"].strip() for row in ours}
    assert same > 150
    for name in ("objects", "cli", "events"):
        cli("unload", name)


def test_names_of_what_code_refers_to(cli: Cli) -> None:
    rows = cli.json("program", "dump", FIRST)
    assert {row["function"] for row in rows} == {
        *("code_first", "code_static", "code_global", "code_callback"),
    }
    callees = {row["callee"] for row in rows if row["callee"]}
    assert callees >= {
        *("code_static", "code_global", "code_callback"),
        *("bpf_tail_call", "bpf_ktime_get_ns"),
    }
    assert any("htab_map_lookup_elem" in name for name in callees)  # what the verifier made
    assert {row["map"] for row in rows if row["map"]} >= {
        "code_jumps",
        "code_sums",
        "code_table",
    }
    variables = {row["variable"] for row in rows if row["variable"]}
    assert {name.partition("+")[0] for name in variables} == {
        *("code_total", "code_limit", "code_seen")
    }
    text = cli("program", "dump", FIRST)
    assert "int code_first(struct xdp_md *ctx): instructions 0-" in text
    assert "call code_global" in text
    assert re.search(r"; code\.bpf\.c:\d+: int code_first\(struct xdp_md \*ctx\)", text)
    assert "atomic64_cmpxchg((u64 *)(r" in text
    only = cli(
        "program", "dump", FIRST, "--function", "code_global", "--no-source", "--opcodes"
    )
    assert "code_first" not in only
    assert "; code.bpf.c" not in only
    assert re.search(r"^ *\d+: ([0-9a-f]{2} ){7}[0-9a-f]{2}  ", only, re.MULTILINE)
    drawn = cli("program", "dump", FIRST, "--jumps")
    assert re.search(r"^[│┌├]+─+ +\d+: if .* goto \d+$", drawn, re.MULTILINE)
    said = cli.refused(4, "program", "dump", FIRST, "--function", "code_globl")
    assert "did you mean code_global" in said


def test_machine_code(cli: Cli) -> None:
    rows = cli.json("program", "dump", FIRST, "--jited")
    shown = members(cli, "program")["code_first"]
    assert sum(len(row["bytes"]) // 2 for row in rows) == shown["bytes_jited"]
    assert not [row for row in rows if row["text"].startswith(".byte")]
    functions = list(dict.fromkeys(row["function"] for row in rows))
    assert functions[0] == "code_first"
    assert set(functions) == {"code_first", "code_static", "code_global", "code_callback"}
    known = kernel_functions(shown["tag"])
    first = [row for row in rows if row["function"] == "code_first"]
    assert first[0]["offset"] == 0
    assert int(first[0]["address"], 16) in known
    names = {row["name"] for row in rows if row["name"]}
    assert names >= {"code_static", "code_global", "code_callback"}
    assert "ktime_get_mono_fast_ns" in names or "bpf_ktime_get_ns" in names
    lines = {row["line"] for row in first}
    translated = cli.json("program", "dump", FIRST, "--function", "code_first")
    assert lines == {row["line"] for row in translated}
    text = cli("program", "dump", FIRST, "--jited", "--opcodes")
    assert re.search(r"^int code_static|code_static\(.*: \d+ bytes at 0x", text, re.MULTILINE)


def kernel_functions(tag: str) -> dict[int, str]:
    """Addresses of a program's functions, by the tag of the first."""
    found = {}
    for line in Path("/proc/kallsyms").read_text().splitlines():
        if f" bpf_prog_{tag}_" in line:
            address, _, name = line.split()[:3]
            found[int(address, 16)] = name
    return found


def test_programs_of_others_without_btf(cli: Cli) -> None:
    code = b"".join(
        (
            insn(0xB7, 0x01, 0, -7),  # r1 = -7
            insn(0x37, 0x01, 1, 2),  # r1 s/= 2
            insn(0xBF, 0x12, 8),  # r2 = (s8)r1
            insn(0xD7, 0x02, 0, 16),  # r2 = bswap16 r2
            insn(0x06, 0, 0, 0),  # gotol, to the next
            insn(0x85, 0x10, 0, 1),  # call the function below
            insn(0x95),
            insn(0xB7, 0, 0, 5),
            insn(0x95),
        )
    )
    try:
        with raw_program(code, "of_nobody") as number:
            text = cli("program", "dump", str(number))
            graph = cli("program", "graph", str(number))
            assert cli("program", "dump", str(number), "--jited")
    except OSError as error:
        pytest.skip(f"this kernel has no instructions of cpu v4: {error.strerror}")
    assert "of_nobody(): instructions 0-" in text
    for words in (
        "r1 s/= 2",
        "r2 = (s8)r1",
        "r2 = bswap16 r2",
        "call function_",
        "\nfunction_",
    ):
        assert words in text
    assert graph.count("+ block 0") == 2


def test_very_many_functions(cli: Cli) -> None:
    """As many as the kernel takes: 256, each called by the first."""
    count = 255
    code = b"".join(
        # To the function behind: two instructions for each, behind the first one's own.
        insn(0x85, 0x10, 0, (count + 2) + 2 * number - (number + 1))
        for number in range(count)
    ) + (insn(0xB7) + insn(0x95))
    code += b"".join(insn(0xB7, 0, 0, number) + insn(0x95) for number in range(count))
    with raw_program(code, "many") as number:
        rows = cli.json("program", "dump", str(number))
        jited = cli.json("program", "dump", str(number), "--jited")
        graph = cli.json("program", "graph", str(number), "--calls")
    first = [row for row in rows if row["function"] == "many"]
    starts = {row["function"]: row for row in reversed(rows)}
    assert len(starts) == count + 1
    called = [row["callee"] for row in first if row["text"].startswith("call")]
    assert len(called) == count
    assert [starts[name]["text"] for name in called] == [f"r0 = {n}" for n in range(count)]
    names = list(dict.fromkeys(row["function"] for row in jited))
    assert len(names) == count + 1
    ends = {row["function"]: row["text"] for row in jited}
    assert all(
        text.startswith(("ret", "jmp", "b", "br", "c.jr", "jr")) for text in ends.values()
    )
    assert sum(edge["kind"] == "calls" for edge in graph["edges"]) == count


def test_functions_farther_away_than_a_call_can_say(cli: Cli) -> None:
    """The kernel keeps 16 bits of the distance."""
    far = 40_000
    code = insn(0x85, 0x10, 0, far + 1) + insn(0xB7) * far + insn(0x95)
    code += insn(0xB7, 0, 0, 7) + insn(0x95)
    with raw_program(code, "far") as number:
        rows = cli.json("program", "dump", str(number))
    assert rows[0]["text"] == f"call function_{far + 2}"
    assert {row["function"] for row in rows} == {"far", f"function_{far + 2}"}
    assert rows[-2]["text"] == "r0 = 7"


def test_graphs_of_flow(cli: Cli) -> None:
    found = cli.json("program", "graph", FIRST)
    for function in found["functions"]:
        blocks = {block["block"] for block in function["blocks"]}
        # The verifier leaves no dead code.
        assert all(block["reachable"] for block in function["blocks"])
        assert {edge["to"] for edge in function["edges"]} <= blocks
        leaving = {edge["from"] for edge in function["edges"]}
        for block in function["blocks"]:
            last = block["instructions"][-1]["text"]
            assert (block["block"] in leaving) != (last == "exit")
    indices = [
        row["index"]
        for function in found["functions"]
        for block in function["blocks"]
        for row in block["instructions"]
    ]
    assert indices == [row["index"] for row in cli.json("program", "dump", FIRST)]
    dot = cli("program", "graph", FIRST, "--format", "dot")
    assert dot.count("subgraph cluster_") == 4
    assert dot.count("{") == dot.count("}")


def test_graph_of_calls(cli: Cli) -> None:
    programs = members(cli, "program")
    maps = {name: row["id"] for name, row in members(cli, "map").items()}
    first, second = programs["code_first"]["id"], programs["code_second"]["id"]
    jumps = syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, maps["code_jumps"])
    try:
        for index, number in ((0, first), (1, second), (2, second)):
            program = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, number)
            value = struct.pack("=I", program)
            syscall.map_update_elem(jumps, struct.pack("=I", index), value)
            os.close(program)
        text = cli("program", "graph", FIRST, "--calls")
        found = cli.json("program", "graph", FIRST, "--calls")
        dot = cli("program", "graph", "code/code_second", "--calls", "--format", "dot")
    finally:
        # The array and its programs hold each other.
        for index in range(3):
            syscall.map_delete_elem(jumps, struct.pack("=I", index))
        os.close(jumps)
    assert text.splitlines()[0] == f"program code_first (id {first}, xdp)"
    assert f"tail-calls through map code_jumps (id {maps['code_jumps']}, prog_array)" in text
    assert f"[1-2] program code_second (id {second}, xdp)" in text
    edges = {(edge["from"], edge["to"], edge["kind"]) for edge in found["edges"]}
    array = f"map {maps['code_jumps']}"
    assert edges >= {
        (f"program {first}", array, "tail calls"),
        (array, f"program {second}", "holds"),
        (array, f"program {first}", "holds"),
        (f"program {second}", array, "tail calls"),
    }
    assert f'"{array}" -> "program {second}" [label="1-2"];' in dot


def test_a_daemon_that_may_not_see_addresses(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """The kernel hides them without CAP_SYSLOG, unless perf may see everything, too."""
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv")
    if int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) <= 1:
        pytest.skip("kernel.perf_event_paranoid lets everybody see addresses")
    daemon = make_daemon()
    daemon.prefix = ["setpriv", "--bounding-set", "-syslog", "--"]
    daemon.start()
    with loaded(daemon, tmp_path) as cli:
        done = cli.try_("program", "dump", FIRST)
        assert done.returncode == 0
        assert "hides addresses" in done.stderr
        assert "CAP_SYSLOG" in done.stderr
        assert "call (hidden)" in done.stdout
        assert "call code_global" in done.stdout
        assert "map[code_sums]" in done.stdout
        said = cli.refused(6, "program", "dump", FIRST, "--jited")
        assert "reading the machine code of program code_first needs CAP_SYSLOG" in said
