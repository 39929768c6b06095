# SPDX-License-Identifier: Apache-2.0
"""`bpfctl program dump`: a program's code with its source lines."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.printable import printable

if TYPE_CHECKING:
    from bpfctl.disassembly.machine import MachineCode
    from bpfctl.disassembly.program import Program


@click.command()
@click.argument("name", metavar="PROGRAM")
@click.option("--jited", is_flag=True, help="Machine code of the target's architecture.")
@click.option("--function", metavar="NAME", help="Only this function of the program.")
@click.option("--opcodes", is_flag=True, help="Also the bytes of each instruction.")
@click.option("--jumps", is_flag=True, help="Draw jumps beside translated code.")
@click.option("--no-source", is_flag=True, help="Without source lines.")
@common_options()
@pass_invocation
def command(
    invocation: Invocation,
    name: str,
    jited: bool,
    function: str | None,
    opcodes: bool,
    jumps: bool,
    no_source: bool,
) -> None:
    """The code of any loaded program, with the source lines that its BTF has.

    Translated code is what the verifier made of the program; calls, maps and variables have
    their names. PROGRAM is OBJECT/NAME, a kernel id, the path of a pin, or a unique name.
    """
    if jited and jumps:
        raise click.UsageError("--jumps is of translated code, not of --jited")
    from bpfctl import programs

    with invocation.connect() as target:
        if jited:
            code = programs.machine(target, name)
            _machine(invocation, code, function, opcodes, not no_source)
        else:
            found = programs.translated(target, name)
            _translated(
                invocation, found, function, opcodes=opcodes, jumps=jumps, source=not no_source
            )


def _translated(
    invocation: Invocation,
    program: Program,
    function: str | None,
    *,
    opcodes: bool,
    jumps: bool,
    source: bool,
) -> None:
    from bpfctl.disassembly import listing
    from bpfctl.disassembly.functions import chosen

    functions = chosen(program.functions, function)
    if invocation.format == "table":
        write(
            invocation,
            listing.translated(program, functions, source=source, opcodes=opcodes, jumps=jumps),
        )
    else:
        invocation.output.rows(
            program.row(each) for part in functions for each in program.code_of(part)
        )
    if program.message.addresses_hidden:
        warn_hidden(invocation)


def _machine(
    invocation: Invocation, code: MachineCode, function: str | None, opcodes: bool, source: bool
) -> None:
    from bpfctl.disassembly import listing
    from bpfctl.disassembly.functions import chosen

    functions = chosen(code.functions, function)
    if invocation.format == "table":
        write(invocation, listing.machine(code, functions, source=source, opcodes=opcodes))
    else:
        invocation.output.rows(row for part in functions for row in code.rows(part))


def write(invocation: Invocation, lines: Iterable[str]) -> None:
    """Lines of text; names and source lines come from others. Source stands back in colour."""
    file = invocation.output.file
    coloured = file.isatty() and not os.environ.get("NO_COLOR")
    for line in lines:
        text = printable(line, keep="\t")
        if coloured and text.lstrip("| │").startswith(";"):
            text = click.style(text, fg="cyan")
        file.write(f"{text}\n")
    file.flush()


def warn_hidden(invocation: Invocation) -> None:
    """Why kernel functions have no names."""
    invocation.warn(
        "the target's kernel hides addresses, so calls of its functions have no names: the"
        " daemon needs CAP_SYSLOG and kernel.kptr_restrict of 0 or 1"
    )
