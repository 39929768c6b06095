# SPDX-License-Identifier: Apache-2.0
"""`bpfctl trace` of a board's kernel functions from the workstation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kernel.cli_support import Cli, wait_for
from tests.vm import expected
from tests.vm.ready import ReadyBoard
from tests.vm.test_tour import nothing_left

__all__ = ["nothing_left"]

FUNCTIONS = 10_000


@pytest.fixture(autouse=True)
def typed(recipe: str) -> None:
    for feature in ("kernel BTF", "kprobe"):
        if expected.lacks(recipe, feature):
            pytest.skip(f"needs {feature}")


def traced(bpfctl: Cli, board: ReadyBoard, script: str, *words: str) -> list[dict[str, Any]]:
    """Events while a script ran on the board, as many as `--max` says."""
    with bpfctl.started("trace", *words, "-o", "jsonl") as running:
        wait_for(running, "tracing ")
        board.run(script)
        out, err = running.communicate(timeout=120)
        assert running.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_a_kernel_function_with_its_struct_and_stack(
    bpfctl: Cli, board: ReadyBoard, nothing_left: None
) -> None:
    rows = traced(
        bpfctl,
        board,
        "nc 127.0.0.1 997 </dev/null || true; nc 127.0.0.1 998 </dev/null || true",
        *("tcp_connect", "--args", "port=sk->__sk_common.skc_dport", "--stack", "--max", "2"),
    )
    assert [row["args"]["port"] for row in rows] == [997, 998]
    for row in rows:
        names = [each.split(" ")[0].split("+")[0] for each in row["kernel_stack"]]
        assert any(name.endswith("_connect") for name in names), names


def test_arguments_and_results_by_kprobe(
    bpfctl: Cli, board: ReadyBoard, nothing_left: None
) -> None:
    rows = traced(
        bpfctl,
        board,
        "for n in 1 2 3; do cat /etc/hostname /no-such-file || true; done >/dev/null 2>&1",
        *("kprobe:do_sys_openat2", "--args", "str(filename), retval", "--max", "6"),
        *("--if", 'comm == "cat" and (str(filename) == "/etc/hostname" or retval == -2)'),
    )
    found = [(row["args"]["filename"], row["retval"]) for row in rows]
    assert [name for name, _ in found] == ["/etc/hostname", "/no-such-file"] * 3
    assert all(value == -2 for name, value in found if name == "/no-such-file")
    assert all(value >= 3 for name, value in found if name == "/etc/hostname")
    assert all(row["duration_ns"] > 0 for row in rows)


def test_many_functions_at_once_are_counted_or_refused(
    bpfctl: Cli, board: ReadyBoard, nothing_left: None
) -> None:
    with board.target() as target:
        has = {each.name for each in target.info(features=True).features if each.supported}
    words = ("trace", "kprobe:[a-i]*", "--count", "--duration", "1", "-o", "json")
    done = bpfctl.try_(*words)
    if "kprobe multi link" not in has:
        assert done.returncode != 0
        assert "limit" in done.stderr
        assert "narrower" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    number = int(done.stderr.split("tracing ")[1].split()[0])
    assert number > FUNCTIONS
    assert sum(each["count"] for each in json.loads(done.stdout)) > 0


def test_functions_that_are_not_there_or_inlined(
    bpfctl: Cli, board: ReadyBoard, nothing_left: None
) -> None:
    assert "did you mean tcp_connect" in bpfctl.refused(4, "trace", "tcp_conect")
