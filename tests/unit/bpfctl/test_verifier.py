# SPDX-License-Identifier: Apache-2.0
"""Verifier logs as compiler errors.

`verifier_logs/NAME.log` are logs of kernel 6.18, cut at the front, and in the form of older
kernels where the name says so; `NAME.txt` is what a user sees. With `UPDATE_GOLDEN=1` in the
environment the latter are written anew.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from bpfctl.elf import ObjectFile
from bpfctl.verifier import Diagnostic, explain, render
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clang import CLANG

LOGS = Path(__file__).parent / "verifier_logs"

SOURCE = """\
#define SEC(name) __attribute__((section(name), used))
struct task { int pid; int gone; } __attribute__((preserve_access_index));

static __attribute__((noinline)) int deepest(int *value)
{
	return *value + 7;
}

static __attribute__((noinline)) int middle(int *value)
{
	int sum = deepest(value) * 3;

	return sum + *value;
}

SEC("xdp")
int other(void *ctx)
{
	return 5;
}

SEC("xdp")
int entry(int *ctx)
{
	int first = deepest(ctx);

	return middle(ctx) ^ first;
}

SEC("tp/sched/sched_switch")
int moved(struct task *task)
{
	int pid = task->pid;
	int gone = task->gone;

	return pid + gone;
}
"""


@pytest.fixture(scope="module")
def obj(tmp_path_factory: pytest.TempPathFactory) -> ObjectFile:
    if not CLANG:
        pytest.skip("needs clang")
    folder = tmp_path_factory.mktemp("verifier")
    (folder / "sample.bpf.c").write_text(SOURCE)
    command = [CLANG, "-g", "-O2", "-target", "bpf", "-c", "sample.bpf.c", "-o", "sample.o"]
    subprocess.run(command, check=True, cwd=folder)
    return ObjectFile.parse((folder / "sample.o").read_bytes())


def line_of(text: str) -> int:
    return next(n for n, line in enumerate(SOURCE.splitlines(), 1) if text in line)


def index_of(obj: ObjectFile, program: str, function: str, text: str) -> int:
    """Index in the loaded program of the first instruction of a source line."""
    entry = obj.program(program)
    assert entry is not None
    start, place = next(
        (start, place) for start, place in obj.layout(entry) if place.name == function
    )
    return next(
        start + line.instruction - place.start
        for line in obj.lines[place.section]
        if text in line.text and line.instruction >= place.start
    )


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: str(path.stem))
def test_what_a_user_sees(path: Path) -> None:
    said = render(explain("drop", path.read_text())) + "\n"
    golden = path.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(said)
    assert said == golden.read_text()
    assert "  help: " in said


def test_layout_follows_the_calls(obj: ObjectFile) -> None:
    entry = obj.program("entry")
    assert entry is not None
    layout = obj.layout(entry)
    assert [function.name for _, function in layout] == ["entry", "deepest", "middle"]
    starts = [start for start, _ in layout]
    assert starts[:2] == [0, entry.instructions]
    assert starts[2] == entry.instructions + layout[1][1].instructions


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("entry", "middle(ctx) ^ first"),
        ("deepest", "*value + 7"),
        ("middle", "deepest(value) * 3"),
    ],
)
def test_the_index_finds_the_line(obj: ObjectFile, function: str, text: str) -> None:
    index = index_of(obj, "entry", function, text)
    log = f"{index}: (61) r0 = *(u32 *)(r1 +0)\nR1 invalid mem access 'scalar'\n"
    found = explain("entry", log, obj)
    assert (found.function, found.line) == (function, line_of(text))
    assert found.column > 0
    assert text in found.source_text
    assert found.instruction == index
    assert found.file.endswith("sample.bpf.c")
    shown = render(found)
    assert shown.startswith(f"{found.file}:{found.line}:{found.column}: error: the verifier")
    assert (f"in {function}(), which entry calls" in shown) == (function != "entry")


def test_the_caret_stands_under_the_column(obj: ObjectFile) -> None:
    index = index_of(obj, "entry", "deepest", "*value + 7")
    shown = render(explain("entry", f"{index}: (61) r0 = 0\nR1 bad\n", obj)).splitlines()
    source, caret = shown[1], shown[2]
    assert source[caret.index("^")] in "*vr"
    assert "\t" not in source


def test_the_logs_own_place_wins_over_the_index(obj: ObjectFile) -> None:
    text = "return sum + *value;"
    log = f"; {text} @ sample.bpf.c:{line_of(text)}\n1: (61) r0 = *(u32 *)(r1 +0)\nR1 bad\n"
    found = explain("entry", log, obj)
    assert (found.function, found.line) == ("middle", line_of(text))
    assert found.column > 0


def test_the_source_text_finds_the_line(obj: ObjectFile) -> None:
    text = "return sum + *value;"
    found = explain("entry", f"; {text}\n9999: (61) r0 = 0\nR1 bad\n", obj)
    assert (found.function, found.line) == ("middle", line_of(text))


def test_no_instruction_means_the_program_itself(obj: ObjectFile) -> None:
    found = explain("entry", "combined stack size of 3 calls is 704. Too large\n", obj)
    assert found.line == line_of("int entry(")
    assert "512 bytes of stack" in found.advice


def test_a_kernel_without_btf_knows_no_context_in_global_functions(obj: ObjectFile) -> None:
    log = "Validating middle() func#1...\nbtf_vmlinux is malformed\n252: (61) r3 = *(u32 *)"
    found = explain("entry", f"{log}(r1 +4)\nR1 invalid mem access 'mem_or_null'\n", obj)
    assert "make that function static there" in found.advice


def test_the_control_flow_check_names_its_instruction(obj: ObjectFile) -> None:
    index = index_of(obj, "entry", "middle", "deepest(value) * 3")
    found = explain("entry", f"back-edge from insn {index} to 4\n", obj)
    assert found.line == line_of("deepest(value) * 3")
    assert "bpf_loop()" in found.advice


@pytest.mark.parametrize(
    "words",
    [
        "{}: (85) call unknown#195896080\ninvalid func unknown#195896080\n",
        (
            "{}: <invalid CO-RE relocation>\nfailed to resolve CO-RE relocation <byte_off> [2]"
            " struct task.gone (0:1 @ offset 4)\n"
        ),
    ],
)
def test_a_field_that_is_missing_is_named(obj: ObjectFile, words: str) -> None:
    gone = obj.core_relocations["tp/sched/sched_switch"][1]
    found = explain("moved", words.format(gone.instruction), obj)
    assert found.message == "the target's kernel has no struct task.gone"
    assert found.line == line_of("task->gone")
    assert "bpf_core_field_exists()" in found.advice


def test_a_source_file_beside_a_log_without_object(tmp_path: Path) -> None:
    (tmp_path / "a.bpf.c").write_text("one\n\ttwo;\n")
    found = explain("p", "; two; @ a.bpf.c:2\n0: (95) exit\nR0 !read_ok\n", None, tmp_path)
    assert (found.file, found.line, found.source_text) == ("a.bpf.c", 2, "two;")


def test_an_empty_log_says_the_errno() -> None:
    found = explain("p", "", errno=1)
    assert found.message == "Operation not permitted"
    assert render(found) == "error: the verifier refused p: Operation not permitted"
    assert explain("p", "").message == "it gave no reason"


def test_verbose_shows_all_of_the_log() -> None:
    log = "".join(f"{n}: (b7) r1 = {n}\n" for n in range(100)) + "R1 !read_ok\n"
    brief, whole = render(explain("p", log)), render(explain("p", log), verbose=True)
    assert "50: (b7)" not in brief
    assert log.rstrip() in whole


def test_a_huge_log_is_read_from_its_end() -> None:
    log = "0: (b7) r1 = 0\n" * (1 << 20) + "; x = y; @ a.c:3\n7: (95) exit\nR0 !read_ok\n"
    found = explain("p", log)
    assert (found.file, found.line, found.message) == ("a.c", 3, "R0 !read_ok")
    assert len(render(found)) < 500


def test_another_programs_log_does_not_lead_astray(obj: ObjectFile) -> None:
    found = explain("nothing", "; zzz\n3: (95) exit\nR0 !read_ok\n", obj)
    assert (found.file, found.line, found.source_text) == ("", 0, "zzz")


LINES = st.sampled_from(
    [
        *("; x @ a.c:1", "; ", ";", "0: (95) exit", "99999999: (61)", "3: R1=ctx()", " R0=1"),
        *("processed 5 insns (limit 9)", "from 1 to 2: R0", "R0 !read_ok", "", "\x00", "é"),
        *("; @ :", "; a @ b:99999", "1: <invalid CO-RE relocation>", "195896080", "insn 7"),
        *("back-edge from insn 9 to 4", "failed to resolve CO-RE relocation", "caller:"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(LINES | st.text(max_size=20), max_size=12))
def test_no_log_raises(obj: ObjectFile, lines: list[str]) -> None:
    log = "\n".join(lines)
    for given_object in (obj, None):
        found = explain("entry", log, given_object)
        assert isinstance(found, Diagnostic)
        assert "the verifier refused entry" in render(found)
        assert log.rstrip("\n") in render(found, verbose=True)
