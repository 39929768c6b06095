# SPDX-License-Identifier: Apache-2.0
"""What all commands share: the options -t, -o and --verbose, the connection, the output."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

import click

from bpfctl.printable import printable

if TYPE_CHECKING:
    from bpfctl.output import Format, Output, Row
    from bpfctl.target import Target

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@dataclass
class Invocation:
    """One run of the command line."""

    target: str | None = None
    format: Format = "table"
    verbose: bool = False
    file: TextIO | None = None
    """Where the output goes; None: standard output."""
    exit_code: int = 0
    """Where the command ends without an error: that of targets on which it failed."""

    def take(self, target: str | None, output: str | None, verbose: bool) -> None:
        """Take over the options that were given."""
        self.target = target or self.target
        if output:
            self.format = cast("Format", output)
        self.verbose = self.verbose or verbose

    def connect(self) -> Target:
        """The target that was asked for, to be closed; InvalidArgument when it is several."""
        import bpfctl

        return bpfctl.connect(self.target)

    @property
    def several(self) -> bool:
        """Whether -t names targets in a way that could be several, as a group does."""
        from bpfctl import config, groups

        return groups.several(self.target or config.default_name())

    def each(self, work: Callable[[Target], T]) -> dict[str, T]:
        """What `work` gives on each target that was asked for, by the target's name.

        On several at once (`bpfctl.fanout`), each in a thread; those where it fails are
        told on standard error, and make the command's exit code. With one, errors are
        raised as they are.
        """
        if not self.several:
            with self.connect() as target:
                return {target.name: work(target)}
        from bpfctl import config, fanout, groups
        from bpfctl.cli import failures

        names = groups.expand(self.target or config.default_name())
        for name in names:
            config.resolve(name)
        values: dict[str, T] = {}
        failed: dict[str, Exception] = {}
        for outcome in fanout.on_each(names, work):
            if outcome.error is not None:
                failed[outcome.target] = outcome.error
            else:
                values[outcome.target] = cast("T", outcome.value)
        code = failures.show_each(failed, list(values), verbose=self.verbose)
        self.exit_code = failures.worst((self.exit_code, code))
        return values

    def rows_of_each(self, work: Callable[[Target], Iterable[Row]]) -> list[dict[str, Any]]:
        """Rows of all targets, as `each`; a column "target" first when -t names several."""
        return self.labelled(self.each(lambda target: list(work(target))))

    def labelled(self, found: Mapping[str, Iterable[Row]]) -> list[dict[str, Any]]:
        """The rows of each target in one list, as `rows_of_each` has them."""
        if not self.several:
            return [dict(row) for rows in found.values() for row in rows]
        return [{"target": name, **row} for name, rows in found.items() for row in rows]

    def records(self, found: Mapping[str, Row]) -> None:
        """Write one thing of each target, as `each` gives them."""
        if not self.several:
            for row in found.values():
                self.output.record(row)
        elif self.format == "table":
            self.output.record(found)
        else:
            self.output.rows(self.labelled({name: [row] for name, row in found.items()}))

    def columns(self, columns: Sequence[str]) -> list[str]:
        """Columns of a table of such rows."""
        return [*(["target"] if self.several else []), *columns]

    @property
    def output(self) -> Output:
        """Standard output, or `file`, in the format that was asked for."""
        from bpfctl.output import Output

        return Output(self.format, self.file)

    def say(self, text: str, target: Target | None = None) -> None:
        """A line for people; goes to standard error when the output is for programs.

        With `target` it begins with its name, when -t names several.
        """
        label = f"{target.name}: " if target is not None and self.several else ""
        with _speaking:
            click.echo(printable(label + text), err=self.format != "table")

    def say_all(self, lines: Iterable[str], target: Target | None = None) -> None:
        """Lines for people, with none of another target's in between."""
        with _speaking:
            for line in lines:
                self.say(line, target)

    def warn(self, text: str, target: Target | None = None) -> None:
        """A line on standard error; `target` as with `say`."""
        sys.stdout.flush()
        label = f"{target.name}: " if target is not None and self.several else ""
        click.echo(f"bpfctl: {printable(label + text)}", err=True)


_speaking = threading.RLock()

pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def _taking(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def take(context: click.Context, _: click.Parameter, value: Any) -> None:
        invocation = context.ensure_object(Invocation)
        given = {"target": None, "output": None, "verbose": False, name: value}
        invocation.take(given["target"], given["output"], given["verbose"])

    return take


FORMATS = ("table", "json", "jsonl", "yaml", "csv")


def common_options(
    *, output: bool = True, formats: Sequence[str] = FORMATS
) -> Callable[[F], F]:
    """Lets -t, -o and --verbose stand behind a command too; `output` False: without -o."""

    def decorate(function: F) -> F:
        for option in reversed(_options(output, formats)):
            function = option(function)
        return function

    return decorate


def _options(output: bool, formats: Sequence[str]) -> list[Callable[[F], F]]:
    options = [
        click.option(
            "-t",
            "--target",
            metavar="TARGET",
            expose_value=False,
            callback=_taking("target"),
            help="Target to speak to, or several: a,b,group:edge [BPFCTL_TARGET, local].",
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
                type=click.Choice(formats),
                expose_value=False,
                callback=_taking("output"),
                help="How rows are written [table].",
            )
        )
    return options
