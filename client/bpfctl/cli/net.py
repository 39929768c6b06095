# SPDX-License-Identifier: Apache-2.0
"""`bpfctl net`: programs of network namespaces and interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.show_tree import show_trees, tell_left_out

if TYPE_CHECKING:
    from bpfctl.target import Target


@click.command()
@click.option(
    "--netns",
    default="",
    metavar="NETNS",
    help="Only this network namespace: its name, path or inode, or pid:NUMBER.",
)
@common_options()
@pass_invocation
def command(invocation: Invocation, netns: str) -> None:
    """Programs that packets meet, by network namespace and interface, in order of running.

    XDP (by links and by netlink), tcx, tc filters of all qdiscs and blocks, netkit, flow
    dissectors, sk_lookup, netfilter, routes; in every namespace that a process is in, or that
    a file leads to.
    """
    from bpfctl.visible import Machine, network

    def look(target: Target) -> Machine:
        machine = Machine(target.machine())
        network.chosen(machine, netns)
        return machine

    machines = invocation.each(look)
    if invocation.format == "table":
        trees = {name: network.lines(machine, netns) for name, machine in machines.items()}
        show_trees(invocation, trees)
    else:
        rows = {name: network.rows(machine, netns) for name, machine in machines.items()}
        invocation.output.rows(invocation.labelled(rows))
    tell_left_out(invocation, machines)
