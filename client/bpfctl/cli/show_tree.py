# SPDX-License-Identifier: Apache-2.0
"""Trees on standard output, and what was not looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from bpfctl.cli.invocation import Invocation
from bpfctl.printable import printable

if TYPE_CHECKING:
    from bpfctl.visible import Machine

_UNENTERED = "network namespace "
"""How the text for a namespace begins that could not be entered."""


def show_trees(invocation: Invocation, trees: Mapping[str, Iterable[tuple[int, str]]]) -> None:
    """(depth, text) of each target with branches, below its name where there are several;
    what is outermost stands out on a terminal."""
    from bpfctl.visible.tree import drawn

    for name, lines in trees.items():
        if invocation.several:
            click.echo(click.style(f"{printable(name)}:", bold=True))
        for text in drawn((depth, printable(text)) for depth, text in lines):
            head = text[:1] not in ("│", "├", "└", " ")
            click.echo(click.style(text, bold=True) if head else text)


def tell_left_out(invocation: Invocation, machines: Mapping[str, Machine]) -> None:
    """On standard error: namespaces that the daemon could not enter, with --verbose all that
    it does not look at."""
    for name, machine in machines.items():
        label = f"{name}: " if invocation.several else ""
        for left in machine.answer.left_out:
            if invocation.verbose or left.what.startswith(_UNENTERED):
                invocation.warn(f"{label}not looked at: {left.what}: {left.why}")
