# SPDX-License-Identifier: Apache-2.0
"""`bpfctl trace` of tracepoints and of a program's own functions, against what it did."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bpfd.features import feature
from tests.kernel import cli_support
from tests.kernel.cli_support import Cli, needs_clang, wait_for
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import needs_root

pytestmark = [*needs_root, needs_clang]

SOURCE = """
#include <stdio.h>
#include <string.h>
#include <unistd.h>
struct point { int x, y; const char *label; };
enum color { RED, GREEN = 5 };
__attribute__((noinline)) long paint(volatile struct point *p, enum color c, const char *text,
                                     long n, double d, char z)
{
    asm volatile("" ::: "memory");
    return p->x + n + (p->label[0] == text[0]) + (c == RED) + (d > 2) + (z == 0);
}
__attribute__((noinline)) int factorial(int n)
{
    if (n < 2) { usleep(2000); return 1; }
    return n * factorial(n - 1);
}
static inline __attribute__((always_inline)) int hidden(int a) { return a * 3; }
int main(int argc, char **argv)
{
    char line[64];
    volatile long sum = 0;
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin) && strcmp(line, "end\\n")) {
        for (int i = 0; i < 10; i++) {
            struct point p = { i, -i, "home" };
            sum += paint(&p, GREEN, "hello", i * 10L, 1.0, 'q') + hidden(i) + factorial(3);
        }
        puts("played");
        fflush(stdout);
    }
    return 0;
}
"""
CALLS = 10


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Cli:
    return cli_support.make(daemon, tmp_path)


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program with debug information."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang", "clang-16"))), None)
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("painter")
    source, program = folder / "painter.c", folder / "painter"
    source.write_text(SOURCE)
    flags = ("-g", "-O1")
    subprocess.run([compiler, *flags, "-o", str(program), str(source)], check=True)
    return program


class Player:
    """The program, which plays when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid
        self.expect("ready")

    def expect(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{word}\n"

    def play(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("play\n")
        self.process.stdin.flush()
        self.expect("played")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.communicate("end\n")


@contextmanager
def player(program: Path) -> Iterator[Player]:
    process = subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    one = Player(process)
    try:
        yield one
    finally:
        one.end()


def traced(
    cli: Cli, program: Path, function: str, *options: str, most: int = CALLS
) -> tuple[list[dict[str, Any]], str]:
    """(events, standard error) of one play."""
    what = f"uprobe:{program}:{function}"
    with player(program) as one:
        words = ("trace", what, "--pid", str(one.pid), "--max", str(most), "-o", "jsonl")
        with cli.started(*words, *options) as running:
            said = wait_for(running, "tracing ")
            one.play()
            out, err = running.communicate(timeout=60)
            assert running.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()], "".join(said) + err


def test_arguments_of_a_user_function_by_its_debug_information(cli: Cli, painter: Path) -> None:
    rows, said = traced(cli, painter, "paint", "--return", "--stack")
    assert len(rows) == CALLS
    for number, row in enumerate(rows):
        arguments = row["args"]
        assert arguments["c"] == "GREEN"
        assert arguments["text"] == "hello"
        assert arguments["n"] == 10 * number
        assert row["retval"] == 11 * number + 1
        assert row["duration_ns"] > 0
        names = [each.split(" (")[0] for each in row["user_stack"]]
        assert names[0].startswith("paint")
        assert any(each.startswith("main") for each in names[1:])
    assert "d is not shown: floating point" in said
    assert "long int paint(" in said or "long paint(" in said
    assert "0 lost" in said


def test_fields_behind_a_pointer_and_conditions(cli: Cli, painter: Path) -> None:
    rows, _ = traced(
        *(cli, painter, "paint", "--args", "p->x, label=str(p->label), minus=-p->y"),
        *("--if", 'p->x >= 6 and text == "hel*" and c == GREEN'),
        most=4,
    )
    assert [each["args"]["x"] for each in rows] == [6, 7, 8, 9]
    assert {each["args"]["label"] for each in rows} == {"home"}


def test_each_call_of_a_recursion_finds_its_own_return(cli: Cli, painter: Path) -> None:
    rows, _ = traced(cli, painter, "factorial", "--return", most=3 * CALLS)
    returned = [(each["args"]["n"], each["retval"]) for each in rows]
    assert returned == [(1, 1), (2, 2), (3, 6)] * CALLS
    for first in range(0, len(rows), 3):
        inner, middle, outer = (each["duration_ns"] for each in rows[first : first + 3])
        assert 2_000_000 <= inner <= middle <= outer


def test_durations_of_a_function_as_a_histogram(cli: Cli, painter: Path) -> None:
    what = f"uprobe:{painter}:factorial"
    with player(painter) as one:
        words = ("trace", what, "--hist", "duration", "--if", "n == 3", "-o", "json")
        with cli.started(*words, "--pid", str(one.pid)) as running:
            wait_for(running, "tracing ")
            one.play()
            one.end()
            out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert f"process {one.pid} has ended" in err
    [row] = json.loads(out)
    assert row["count"] == CALLS
    assert row["sum"] >= CALLS * 2_000_000


def test_a_pattern_over_functions_counts_each(cli: Cli, painter: Path) -> None:
    what = f"uprobe:{painter}:[pf]a*"
    with player(painter) as one:
        words = ("trace", what, "--count", "--pid", str(one.pid), "-o", "json")
        with cli.started(*words) as running:
            wait_for(running, "tracing 2 functions")
            one.play()
            one.play()
            one.end()
            out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    counts = {each["function"]: each["count"] for each in json.loads(out)}
    assert counts == {"factorial": 6 * CALLS, "paint": 2 * CALLS}


def test_functions_that_are_not_there(cli: Cli, painter: Path) -> None:
    with player(painter):
        assert "did you mean paint" in cli.refused(4, "trace", f"uprobe:{painter}:pain")
        said = cli.refused(4, "trace", f"uprobe:{painter}:hidden")
        assert "inlined" in said
        said = cli.refused(2, "trace", f"uprobe:{painter}:paint", "--if", "colour == 1")
        assert "there is no colour" in said
    assert "did you mean sched:sched_process_exec" in cli.refused(
        4, "trace", "tracepoint:sched:sched_process_exek"
    )


def test_a_tracepoint_with_the_fields_of_its_record(cli: Cli) -> None:
    program = Path(cli.folder) / "own-copy"
    shutil.copy("/bin/true", program)
    condition = f'filename == "{program}"'
    words = ("trace", "sched:sched_process_exec", "--if", condition, "--max", "3")
    if len(str(program)) > 63:
        words = ("trace", "sched:sched_process_exec", "--comm", "own-copy", "--max", "3")
    with cli.started(*words, "-o", "jsonl") as running:
        wait_for(running, "tracing sched_process_exec")
        pids = []
        for _ in range(3):
            with subprocess.Popen([program]) as child:
                pids.append(child.pid)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [each["pid"] for each in rows] == pids
    assert [each["args"]["pid"] for each in rows] == pids
    assert {each["args"]["filename"] for each in rows} == {str(program)}
    assert {each["comm"] for each in rows} == {"own-copy"}


def test_kernel_functions_say_when_they_cannot_be_traced(cli: Cli) -> None:
    if feature("kprobe").supported:
        pytest.skip("this kernel has kprobes: the virtual boards' tests trace functions")
    assert "CONFIG_KPROBE_EVENTS" in cli.refused(7, "trace", "kprobe:vfs_read")


def test_a_source_is_shown_and_nothing_loaded(cli: Cli) -> None:
    made = cli("trace", "sched:sched_process_exec", "--show-source", "--pid", str(os.getpid()))
    assert 'SEC("tracepoint")' in made
    assert f"thread >> 32 != {os.getpid()}" in made
    assert cli.json("object", "list") == []
