# SPDX-License-Identifier: Apache-2.0
"""`bpfctl program graph`: how a program's code goes on, and whom it calls."""

from __future__ import annotations

from typing import Literal, cast

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.program_dump import warn_hidden, write


@click.command()
@click.argument("name", metavar="PROGRAM")
@click.option(
    "--calls",
    is_flag=True,
    help="Functions, maps, and programs in prog arrays instead, as far as they lead.",
)
@click.option("--function", metavar="NAME", help="Only this function of the program.")
@click.option("--no-source", is_flag=True, help="Without source lines.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "dot"]),
    default="text",
    help="Text for a terminal, or a graph for Graphviz's `dot` [text].",
)
@common_options()
@pass_invocation
def command(
    invocation: Invocation,
    name: str,
    calls: bool,
    function: str | None,
    no_source: bool,
    form: str,
) -> None:
    """Control flow of a program's translated code, or with --calls its call graph.

    Blocks are instructions that run one after the other; edges say when. `-o json` gives
    nodes and edges, `--format dot` what Graphviz draws: `... --format dot | dot -Tsvg`.
    """
    if calls and function:
        raise click.UsageError("--function is of the control flow, not of --calls")
    shape = cast("Literal['text', 'dot']", form)
    if calls:
        _calls(invocation, name, shape)
    else:
        _flow(invocation, name, function, shape, not no_source)


def _flow(
    invocation: Invocation,
    name: str,
    function: str | None,
    form: Literal["text", "dot"],
    source: bool,
) -> None:
    from bpfctl import programs
    from bpfctl.disassembly import flow
    from bpfctl.disassembly.functions import chosen

    with invocation.connect() as target:
        program = programs.translated(target, name)
        flows = [flow.flow(program, each) for each in chosen(program.functions, function)]
        if invocation.format != "table":
            invocation.output.record(flow.record(program, flows))
        elif form == "dot":
            write(invocation, flow.dot(program, flows, source=source))
        else:
            write(invocation, flow.text(program, flows, source=source))
    if program.message.addresses_hidden:
        warn_hidden(invocation)


def _calls(invocation: Invocation, name: str, form: Literal["text", "dot"]) -> None:
    from bpfctl import programs
    from bpfctl.disassembly import calls

    with invocation.connect() as target:
        found = programs.related(target, name)
        graph = calls.graph(found.programs, found.held)
    if invocation.format != "table":
        invocation.output.record(calls.record(graph))
    elif form == "dot":
        write(invocation, calls.dot(graph, found.programs[0].name))
    else:
        write(invocation, calls.text(graph, f"program {found.programs[0].id}"))
    if found.left_out:
        invocation.warn(
            f"{found.left_out} more programs are reached by tail calls and left out"
        )
    if found.programs[0].message.addresses_hidden:
        warn_hidden(invocation)
