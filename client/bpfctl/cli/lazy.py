# SPDX-License-Identifier: Apache-2.0
"""A click group that imports a command's module when the command is run, not before."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class Entry:
    """Where a command is, and its one line in the list of commands."""

    module: str
    """Below `bpfctl.cli`; the command is its `command`, or `attribute`."""
    help: str
    attribute: str = "command"


class LazyGroup(click.Group):
    """A group of `Entry`s."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._entries = dict(entries)

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self._entries)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        entry = self._entries.get(name)
        if entry is None:
            return None
        command = getattr(
            importlib.import_module(f"bpfctl.cli.{entry.module}"), entry.attribute
        )
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self._entries and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], self._entries, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            context.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self._entries.items()])
