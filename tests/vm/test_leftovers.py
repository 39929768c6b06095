# SPDX-License-Identifier: Apache-2.0
"""A board is after `target purge` what it was before `target up`."""

from __future__ import annotations

from pathlib import Path

from bpfctl import bootstrap
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
ip addr | grep -v valid_lft | sed 's/ tentative//'
for pid in /proc/[0-9]*; do
    [ -s $pid/cmdline ] && tr '\\0' ' ' <$pid/cmdline && echo
done | grep -v -e dropbear -e /bin/sh -e find -e ' -c '
"""


def test_nothing_is_left(recipe: str, look: str, stage: Path) -> None:
    with switched_on(recipe, look, memory=256) as board:
        board.run("true")
        before = sorted(board.run(_LISTING).text.splitlines())
        config = put_daemon(board).config
        bpfctl = BoardCli(Path(), ROOT, board.name)
        bpfctl("load", "bpf/ddos")
        bpfctl("attach", "ddos/ddos", "xdp:lo,mode=generic")
        during = board.run(_LISTING).text.splitlines()
        assert len(during) > len(before)
        purged = bootstrap.purge(board.name, config)
        assert (purged.left, purged.failed) == ((), ())
        assert sorted(board.run(_LISTING).text.splitlines()) == before
        assert "xdp" not in board.run("ip link show lo").text
        assert board.name in load_targets()
