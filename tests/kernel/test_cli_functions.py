# SPDX-License-Identifier: Apache-2.0
"""Programs aimed at another function, tracepoint or iterator than their section names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bpfd.features import PROBES
from tests.kernel import cli_support
from tests.kernel.clang import PROGRAMS
from tests.kernel.cli_support import Cli, needs_clang, wait_for
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import needs_root

pytestmark = [*needs_root, needs_clang]

SOURCE = str(PROGRAMS / "aimed.bpf.c")
REFUSED = "the type of program"


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Cli:
    try:
        PROBES["tp_btf"].run()
    except OSError as error:
        pytest.skip(f"no tp_btf: {error.strerror}")
    return cli_support.make(daemon, tmp_path)


@pytest.fixture
def owned_names() -> set[str]:
    return {"aimed_event", "aimed_entries", "aimed_entry", "aimed_hook", "aimed_packet"}


FORKS = """
import os, sys
sys.stdin.readline()
for _ in range(3):
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)
print("forked", flush=True)
sys.stdin.readline()
"""
"""A process that forks three times when it is told, and starts no threads."""


@contextmanager
def forking() -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", FORKS]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.communicate("\n", timeout=30)


def runs(cli: Cli, program: str, point: str, *more: str) -> int:
    """How often a program of one process ran while that forked three times."""
    with forking() as forker:
        watched = ("--set", f"watched_pid={forker.pid}")
        arguments = ("run", SOURCE, "--program", program, *watched, "--attach", point, *more)
        with cli.started(*arguments, "-o", "jsonl", "--duration", "1s") as process:
            wait_for(process, f"attached {program} to ")
            assert forker.stdin is not None
            assert forker.stdout is not None
            forker.stdin.write("\n")
            forker.stdin.flush()
            assert forker.stdout.readline() == "forked\n"
            out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    (found,) = [row["value"] for row in rows if row["map"] == ".bss"]
    return int(found["runs"])


def test_another_tracepoint(cli: Cli) -> None:
    # Forks happen in the watched process; ends of children, its section's event, do not.
    assert runs(cli, "aimed_event", "aimed_event=tp_btf:sched_process_fork") == 3
    assert runs(cli, "aimed_event", "tp_btf:sched_process_fork", "-D", "BARE") == 3


def test_another_iterator(cli: Cli) -> None:
    run = ("run", SOURCE, "--program", "aimed_entries", "--no-maps")
    tasks = cli(*run)
    assert set(tasks.splitlines()) == {"entry"}
    # The iterator itself is a link, and there are far fewer of those than tasks.
    links = cli(*run, "--attach", "iterator:bpf_link")
    assert 1 <= links.count("entry\n") < tasks.count("entry\n")
    assert cli(
        "load", SOURCE, "--program", "aimed_entries", "--function", "aimed_entries=bpf_map"
    )
    cli("attach", "aimed/aimed_entries", "iterator:bpf_map")
    assert "entry\n" in cli("link", "read", "aimed/aimed_entries")
    cli("unload", "aimed")


def test_what_is_said_of_a_program_that_is_for_something_else(cli: Cli) -> None:
    program = ("--program", "aimed_event")
    cli("load", SOURCE, *program)
    said = cli.refused(2, "attach", "aimed/aimed_event", "tp_btf:sched_process_fork")
    assert "was loaded for btf_trace_sched_process_exit" in said
    assert "--function aimed_event=sched_process_fork" in said
    cli("attach", "aimed/aimed_event", "tp_btf:sched_process_exit")
    cli("unload", "aimed")

    said = cli.refused(2, "run", SOURCE, *program, "--attach", "aimed_event=fentry:vfs_read")
    assert 'its section is SEC("tp_btf/sched_process_exit")' in said
    twice = ("--attach", "tp_btf:sched_switch", "--attach", "tp_btf:sched_process_fork")
    assert "loaded for one function" in cli.refused(2, "run", SOURCE, *program, *twice)
    said = cli.refused(2, "load", SOURCE, *program, "--function", "aimed_event=none_such")
    assert "no BTF of it" in said
    said = cli.refused(
        2, "load", SOURCE, "--program", "aimed_packet", "--function", "aimed_packet=f"
    )
    assert "type xdp" in said
    said = cli.refused(2, "load", SOURCE, *program, "-D", "BARE")
    assert "--function aimed_event=FUNCTION" in said
    said = cli.refused(2, "load", SOURCE, *program, "--function", "aimed_event=a/b")
    assert "OBJECT/PROGRAM:FUNCTION" in said
    assert cli.json("object", "list") == []


def test_functions_and_hooks_of_the_kernel(cli: Cli) -> None:
    """Where the kernel takes such programs; elsewhere it says that it does not."""
    for program, point in (
        ("aimed_entry", "fentry:kernel_clone"),
        ("aimed_hook", "lsm:task_alloc"),
    ):
        watched = ("--set", f"watched_pid={os.getpid()}")
        probe = cli.try_("load", SOURCE, "--program", program, *watched)
        if REFUSED in probe.stderr:
            pytest.skip(probe.stderr.strip())
        assert probe.returncode == 0, probe.stderr
        cli("unload", "aimed")
        assert runs(cli, program, f"{program}={point}") == 3


def test_what_run_says_of_a_program_that_it_cannot_place(cli: Cli) -> None:
    run = ("run", SOURCE, "--program", "aimed_packet", "--attach")
    said = cli.refused(2, *run, "aimed_packet=tc:lo,ingress")
    assert "takes sched_cls (program aimed_packet, at tc:lo,ingress)" in said
    said = cli.refused(4, *run, "xdp:nosuch0")
    assert "--no-program aimed_packet leaves that out" in said
