# SPDX-License-Identifier: Apache-2.0
"""`bpfctl ps`: every program, where it runs, and who keeps it."""

from __future__ import annotations

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.show_tree import tell_left_out


@click.command()
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="TYPE",
    help="Only programs of this type, as in `xdp`; may be given several times.",
)
@click.option("--pid", type=click.IntRange(1), help="Only programs that this process holds.")
@click.option("--name", default="", metavar="GLOB", help="Only programs of such names.")
@click.option(
    "--ours/--foreign", default=None, help="Only programs of the daemon's objects, or others."
)
@click.option("--wide", "-w", is_flag=True, help="More columns, nothing shortened.")
@common_options()
@pass_invocation
def command(
    invocation: Invocation,
    types: tuple[str, ...],
    pid: int | None,
    name: str,
    ours: bool | None,
    wide: bool,
) -> None:
    """Every program of the kernel: where it runs, who holds it, its maps and memory.

    Also those without a link: XDP by netlink, tc filters, cgroups, perf events, sockmaps, in
    all network namespaces. -o json has every detail.
    """
    from bpfctl.visible import Machine, programs

    for kind in types:
        _check_type(kind)
    wanted = programs.Filter(types, pid or 0, name, ours)
    machines = invocation.each(lambda target: Machine(target.machine()))
    if invocation.format == "table":
        columns = invocation.columns(programs.WIDE if wide else programs.COMPACT)
        tables = {
            name: programs.table_rows(machine, wanted, wide=wide)
            for name, machine in machines.items()
        }
        invocation.output.rows(invocation.labelled(tables), columns)
    else:
        every = {name: programs.rows(machine, wanted) for name, machine in machines.items()}
        invocation.output.rows(invocation.labelled(every))
    tell_left_out(invocation, machines)


def _check_type(kind: str) -> None:
    """Types newer than this bpfctl are numbers. Raises click.BadParameter."""
    from bpfctl.listing import program_types

    known = program_types()
    if kind in known or kind.isdecimal():
        return
    import difflib

    near = difflib.get_close_matches(kind, known, 3)
    hint = f"did you mean {', '.join(near)}?" if near else f"there is {', '.join(known)}"
    raise click.BadParameter(f"there is no program type {kind!r}; {hint}", param_hint="--type")
