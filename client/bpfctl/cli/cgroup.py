# SPDX-License-Identifier: Apache-2.0
"""`bpfctl cgroup`: programs of control groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.lazy import Entry, LazyGroup
from bpfctl.cli.show_tree import show_trees

if TYPE_CHECKING:
    from bpfctl.target import Target


@click.group(
    cls=LazyGroup,
    entries={"tree": Entry("cgroup", "Control groups and their programs.", "tree")},
)
def command() -> None:
    """Control groups and the programs on them."""


@click.command()
@click.argument("path", default="", metavar="[CGROUP]")
@click.option(
    "--effective",
    is_flag=True,
    help="For each cgroup also the programs from above that run for it.",
)
@common_options()
@pass_invocation
def tree(invocation: Invocation, path: str, effective: bool) -> None:
    """Every cgroup with programs, by hook, in the order in which they run.

    CGROUP is a directory, absolute or below the cgroup2 mount; only what is at or below it is
    shown. Attached with and without links, whoever did it.
    """
    from bpfctl.visible import Machine, cgroups

    def look(target: Target) -> Machine:
        machine = Machine(target.machine(effective=effective))
        cgroups.require(machine, path)
        return machine

    machines = invocation.each(look)
    if invocation.format == "table":
        trees = {name: cgroups.lines(machine, path) for name, machine in machines.items()}
        show_trees(invocation, trees)
    else:
        rows = {name: cgroups.rows(machine, path) for name, machine in machines.items()}
        invocation.output.rows(invocation.labelled(rows))
