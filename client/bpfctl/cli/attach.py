# SPDX-License-Identifier: Apache-2.0
"""`bpfctl attach`: a program to its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation

if TYPE_CHECKING:
    from bpfctl.output import Row
    from bpfctl.target import Target


@click.command()
@click.argument("program", metavar="OBJECT/PROGRAM")
@click.argument("point", metavar="POINT")
@click.option("--name", default="", help="Name of the link [OBJECT/PROGRAM].")
@common_options()
@pass_invocation
def command(invocation: Invocation, program: str, point: str, name: str) -> None:
    """Attach a program; it stays until detach or unload.

    POINT is KIND:WHERE[,OPTION...], for example:

    \b
      xdp:eth0,mode=generic               tracepoint:sched/sched_switch
      tc:eth0,ingress                     raw_tracepoint:sys_enter
      cgroup_skb:/sys/fs/cgroup/x,egress  uprobe:/bin/bash:readline
      perf_event:cpu-clock,frequency=99   xdp:veth0,netns=blue
      xdp:eth0,priority=10                xdp:eth0,priority=20,proceed_on=pass+tx

    A program of someone else can be attached by its kernel id.
    """
    from bpfctl.listing import own_link_row

    def attach(target: Target) -> Row:
        link = target.attach(program, point, name=name)
        if invocation.format == "table":
            how = f" ({link.method})" if link.method else ""
            invocation.say(f"attached {link.name}{how}", target)
        return own_link_row(link)

    rows = invocation.each(attach)
    if invocation.format != "table":
        invocation.records(rows)
