# SPDX-License-Identifier: Apache-2.0
"""What the daemon is on a board: what it says of the kernel, its size, its start."""

from __future__ import annotations

import time

import pytest

from tests.vm import expected
from tests.vm.ready import REST_SECONDS, ReadyBoard

IDLE_MEGABYTES = {"arm64": 35.0, "armhf": 28.0}
"""Most that an idle daemon may take, by architecture (PSS, 10^6 bytes)."""

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l", "riscv64": "riscv64"}

_START = """
folder=$(mktemp -d /data/startXXXXXX) && cd $folder || exit 9
set -- $(cat /proc/uptime); begin=$1
{bundle}/bpfd serve --socket $folder/s --state-dir $folder/state \
    --bpffs /sys/fs/bpf/start --ready-fd 3 3>ready 2>log & pid=$!
until [ -s ready ]; do [ -d /proc/$pid ] || {{ cat log; exit 8; }}; sleep 0.02; done
set -- $(cat /proc/uptime); echo $begin $1
kill $pid; wait $pid; cd /; rm -rf $folder; rmdir /sys/fs/bpf/start 2>/dev/null; true
"""


def test_what_the_kernel_can_do(board: ReadyBoard, recipe: str) -> None:
    with board.target() as target:
        info = target.info(features=True)
    assert info.machine.startswith(_MACHINES[board.lab.arch])
    assert info.kernel_release == board.lab.release
    lacking = {each.name for each in info.features if not each.supported}
    known = {name for name in expected.MISSING if expected.lacks(recipe, name)}
    names = {each.name for each in info.features}
    surprising = {
        each.name: each.probe for each in info.features if each.name in lacking - known
    }
    assert not surprising
    assert known & names <= lacking, "works now: take it out of tests/vm/expected.py"
    for each in info.features:
        assert each.supported or each.probe, f"{each.name} is missing without a reason"


def test_memory_when_idle(board: ReadyBoard, facts: dict[str, object]) -> None:
    """Of a daemon that was just started, and of one that has served and rests."""
    time.sleep(REST_SECONDS)
    facts["PSS after use, MB"] = round(board.pss() / 1e6, 1)
    fresh = facts["idle PSS, MB"]
    assert isinstance(fresh, float)
    assert fresh <= IDLE_MEGABYTES.get(board.lab.arch, 35.0)
    # What calls imported stays: a tenth more.
    assert board.pss() / 1e6 <= 1.1 * IDLE_MEGABYTES.get(board.lab.arch, 35.0)


def test_start(board: ReadyBoard, facts: dict[str, object]) -> None:
    begin, end = map(float, board.run(_START.format(bundle=board.bundle), timeout=300).split())
    facts["daemon start, s"] = round(end - begin, 2)


@pytest.mark.parametrize("words", ["dial-stdio --help", "--version"])
def test_the_bundle_needs_nothing_of_the_board(board: ReadyBoard, words: str) -> None:
    done = board.try_(f"cd / && env -i {board.bundle}/bpfd {words}")
    assert done.status == 0, done.words
