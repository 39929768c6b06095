# SPDX-License-Identifier: Apache-2.0
"""What all commands share: the options -t, -o and --verbose, the connection, the output."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from bpfctl.printable import printable

if TYPE_CHECKING:
    from bpfctl.output import Format, Output
    from bpfctl.target import Target

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Invocation:
    """One run of the command line."""

    target: str | None = None
    format: Format = "table"
    verbose: bool = False

    def take(self, target: str | None, output: str | None, verbose: bool) -> None:
        """Take over the options that were given."""
        self.target = target or self.target
        if output:
            self.format = cast("Format", output)
        self.verbose = self.verbose or verbose

    def connect(self) -> Target:
        """The target that was asked for; to be closed."""
        import bpfctl

        return bpfctl.connect(self.target)

    @property
    def output(self) -> Output:
        """Standard output in the format that was asked for."""
        from bpfctl.output import Output

        return Output(self.format)

    def say(self, text: str) -> None:
        """A line for people; goes to standard error when the output is for programs."""
        click.echo(printable(text), err=self.format != "table")

    def warn(self, text: str) -> None:
        """A line on standard error."""
        sys.stdout.flush()
        click.echo(f"bpfctl: {printable(text)}", err=True)


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def _taking(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def take(context: click.Context, _: click.Parameter, value: Any) -> None:
        invocation = context.ensure_object(Invocation)
        given = {"target": None, "output": None, "verbose": False, name: value}
        invocation.take(given["target"], given["output"], given["verbose"])

    return take


def common_options(*, output: bool = True) -> Callable[[F], F]:
    """Lets -t, -o and --verbose stand behind a command too; `output` False: without -o."""

    def decorate(function: F) -> F:
        for option in reversed(_options(output)):
            function = option(function)
        return function

    return decorate


def _options(output: bool) -> list[Callable[[F], F]]:
    options = [
        click.option(
            "-t",
            "--target",
            metavar="TARGET",
            expose_value=False,
            callback=_taking("target"),
            help="Target to speak to [BPFCTL_TARGET, local].",
        ),
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            expose_value=False,
            callback=_taking("verbose"),
            help="Say more.",
        ),
    ]
    if output:
        options.append(
            click.option(
                "-o",
                "--output",
                type=click.Choice(["table", "json", "jsonl", "yaml", "csv"]),
                expose_value=False,
                callback=_taking("output"),
                help="How rows are written [table].",
            )
        )
    return options
