# SPDX-License-Identifier: Apache-2.0
"""`bpfctl lab`: virtual boards."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.lazy import Entry, LazyGroup
from bpfctl.cli.parameters import Duration

if TYPE_CHECKING:
    from bpfctl.lab import Board

F = TypeVar("F", bound=Callable[..., Any])


@click.group(
    cls=LazyGroup,
    entries={
        "list": Entry("lab", "Boards there are, and those that run.", "list_boards"),
        "up": Entry("lab", "Switch boards on; each becomes a target.", "up"),
        "down": Entry("lab", "Switch boards off.", "down"),
        "ssh": Entry("lab", "Log in to a board, or run a command there.", "ssh"),
        "run": Entry("lab", "Run a command for boards, switched on for it.", "run"),
    },
)
def command() -> None:
    """Virtual boards: other kernels and CPUs as targets, without hardware or privileges."""


def _hardware(function: F) -> F:
    """Options of what a board shall be."""
    for option in reversed(
        (
            click.option(
                "--android",
                is_flag=True,
                help="As Android looks: no /tmp, no /usr, toybox's commands; over adb.",
            ),
            click.option("--adb", is_flag=True, help="With adbd; the target is over adb."),
            click.option("--memory", type=int, default=0, metavar="MIB", help="Memory [256]."),
            click.option("--cpus", type=int, default=0, metavar="N", help="CPUs [1]."),
            click.option(
                "--wait",
                type=Duration(),
                default="120",
                metavar="TIME",
                help="How long it may take to answer [120s].",
            ),
        )
    ):
        function = option(function)
    return function


@click.command("list")
@common_options()
@pass_invocation
def list_boards(invocation: Invocation) -> None:
    """Boards there are, and those that run."""
    from bpfctl.lab import listing

    columns = ["name", "kernel", "state", "memory", "ssh", "adb", "uptime", "summary"]
    invocation.output.rows(listing.rows(), columns)


@click.command()
@click.argument("names", metavar="BOARD...", nargs=-1, required=True)
@click.option("--name", help="Name of the board and its target [that of the recipe].")
@_hardware
@click.option("--join", metavar="OTHER", help="Put eth1 at the other end of that board's eth1.")
@click.option("--rtc", metavar="TIME", help="What its clock shows: 1970-01-01T00:00:00.")
@click.option("--password", metavar="TEXT", help="Let root in over SSH with this, too.")
@click.option("--refresh", is_flag=True, help="Ask the archive for a newer kernel first.")
@click.option("--no-daemon", is_flag=True, help="Put no daemon there.")
@pass_invocation
def up(
    invocation: Invocation,
    names: tuple[str, ...],
    name: str | None,
    android: bool,
    adb: bool,
    memory: int,
    cpus: int,
    wait: float,
    join: str | None,
    rtc: str | None,
    password: str | None,
    refresh: bool,
    no_daemon: bool,
) -> None:
    """Switch on boards of these recipes, one after the other; each becomes a target.

    They stay on until `lab down`. The first time a kernel is fetched, some 30 to 110 MB.
    """
    from bpfctl import lab
    from bpfctl.bootstrap.errors import BootstrapFailed
    from bpfctl.bundle.errors import BundleError
    from bpfctl.cli.progress import shown

    if name and len(names) > 1:
        raise click.UsageError("--name is for one board")
    wishes = lab.Wishes(
        name or "", memory, cpus, adb, android, join or "", rtc or "", password or ""
    )
    for recipe in names:
        try:
            with shown() as progress:
                board = lab.up(
                    recipe,
                    wishes,
                    refresh=refresh,
                    daemon=not no_daemon,
                    timeout=wait,
                    progress=progress,
                )
        except (BootstrapFailed, BundleError):
            invocation.warn("the board runs without a daemon with --no-daemon")
            raise
        _say(invocation, board)


def _say(invocation: Invocation, board: Board) -> None:
    from bpfctl.lab.recipe import find

    recipe = find(board.running.recipe)
    if not recipe.fits(board.release):
        invocation.warn(
            f"{recipe.suite} has moved on: {recipe.name} now runs Linux {board.release}"
        )
    click.echo(f"{board.name}: Linux {board.release}, {board.target.address}")
    if not _has_types(board):
        click.echo(
            f"its kernel has no BTF: `bpfctl btf fetch -t {board.name}` gets it, once, for"
            " programs that read the kernel's structs (a download of some 700 MB)"
        )


def _has_types(board: Board) -> bool:
    """Whether the board's kernel has BTF, or the workstation keeps it."""
    from bpfctl.kernelbtf import Store
    from bpfctl.kernelbtf.debian import WITHOUT_BTF

    known = (entry.build.release for entry in Store().entries())
    return board.arch not in WITHOUT_BTF or board.release in known


@click.command()
@click.argument("names", metavar="BOARD...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that run.")
def down(names: tuple[str, ...], every: bool) -> None:
    """Switch boards off and forget them as targets."""
    from bpfctl import lab

    if bool(names) == every:
        raise click.UsageError("name boards, or say --all")
    if every:
        lab.down_all()
    for name in names:
        lab.down(name)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", metavar="BOARD")
@click.argument("words", metavar="[COMMAND]...", nargs=-1, type=click.UNPROCESSED)
def ssh(name: str, words: tuple[str, ...]) -> None:
    """Log in to a board, or run a command there; exits as the command does."""
    import sys

    from bpfctl import lab
    from bpfctl.lab import login

    command = login.command(lab.board(name).ssh, list(words))
    sys.stdout.flush()
    os.execv(command[0], command)


class _WithCommand(click.Command):
    """What stands behind "--" is a command; click itself would mix it with the arguments."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            args, context.meta["command"] = args[:at], args[at + 1 :]
        return super().parse_args(context, args)


@click.command(cls=_WithCommand, options_metavar="[OPTIONS]")
@click.argument("names", metavar="BOARD... -- COMMAND...", nargs=-1)
@_hardware
@click.option("--in-guest", is_flag=True, help="Run the command on the board, not here.")
@click.pass_context
def run(
    context: click.Context,
    names: tuple[str, ...],
    android: bool,
    adb: bool,
    memory: int,
    cpus: int,
    wait: float,
    in_guest: bool,
) -> None:
    """Run a command for boards, one after the other.

    It runs on this machine with BPFCTL_TARGET set to the board. A board that is off is
    switched on for it, and off afterwards. Exits as the first command that fails.
    """
    from bpfctl import lab
    from bpfctl.cli.progress import shown
    from bpfctl.lab import work

    words = context.meta.get("command", [])
    if not names or not words:
        raise click.UsageError("say boards, then -- and a command")
    wishes = lab.Wishes(memory=memory, cpus=cpus, adb=adb, android=android)
    code = 0
    for name in names:
        if len(names) > 1:
            click.echo(f"bpfctl: {name}", err=True)
        with shown() as progress:
            status = work.run(
                name, words, wishes=wishes, in_guest=in_guest, timeout=wait, progress=progress
            )
        code = code or status
    if code:
        raise click.exceptions.Exit(code)
