# SPDX-License-Identifier: Apache-2.0
"""A board is after `target purge` what it was before `target up`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from bpfctl import bootstrap, lab
from bpfctl.config import load_targets

from tests.kernel.test_readme import ROOT
from tests.vm.command_line import BoardCli
from tests.vm.ready import put_daemon, switched_on

_LISTING = """
find / \\( -path /proc -o -path /sys \\) -prune -o -print
find /sys/fs/bpf /sys/fs/cgroup /sys/kernel/tracing/instances 2>/dev/null
cut -d' ' -f1-4 /proc/mounts
cat /proc/modules | cut -d' ' -f1
cat /sys/kernel/tracing/kprobe_events /sys/kernel/tracing/uprobe_events 2>/dev/null
ip addr | grep -v valid_lft
for pid in /proc/[0-9]*; do
    tr '\\0' ' ' <$pid/cmdline && echo
done 2>/dev/null | grep . |
    grep -v -e dropbear -e bin/sh -e find -e ' -c ' -e '^tr ' -e '^grep '
"""

_SETTLED = """
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    case $(ip addr show eth0) in
    *tentative*) ;;
    *LOWER_UP*fe80::*) exit 0 ;;
    esac
    sleep 1
done
ip addr
exit 1
"""
"""Waits until the card's link is up and its address is known to be nobody else's: a board
answers earlier than that."""


def _listed(board: lab.Board) -> Counter[str]:
    """Files, mounts, modules, probes, addresses and processes, with how often each is there."""
    return Counter(board.run(_LISTING).text.splitlines())


def test_nothing_is_left(recipe: str, look: str, stage: Path) -> None:
    with switched_on(recipe, look, memory=256) as board:
        assert board.run(_SETTLED).status == 0
        before = _listed(board)
        config = put_daemon(board).config
        bpfctl = BoardCli(Path(), ROOT, board.name)
        bpfctl("load", "bpf/ddos")
        bpfctl("attach", "ddos/ddos", "xdp:lo,mode=generic")
        assert _listed(board) - before
        purged = bootstrap.purge(board.name, config)
        assert (purged.left, purged.failed) == ((), ())
        after = _listed(board)
        assert (after - before, before - after) == (Counter(), Counter())
        assert "xdp" not in board.run("ip link show lo").text
        assert board.name in load_targets()
