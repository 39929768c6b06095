# SPDX-License-Identifier: Apache-2.0
"""Events of a trace in a terminal: a line for each, its stack below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.show_events import EventWriter
from bpfctl.printable import printable

if TYPE_CHECKING:
    from bpfctl.wire import EventBatch

_STACKS = ("kernel_stack", "user_stack")


class TraceWriter(EventWriter):
    """As EventWriter; a table has no columns of stacks."""

    def _write(self, index: int, batch: EventBatch, most: int) -> int:
        if self._invocation.format != "table":
            return super()._write(index, batch, most)
        rows = self._rings[index].reader.rows(batch)[:most]
        for row in rows:
            plain: dict[str, Any] = {
                name: value for name, value in row.items() if name not in _STACKS
            }
            self._stream(index).write(plain)
            for side in _STACKS:
                for frame in row.get(side, ()):
                    click.echo(
                        f"    {'k' if side == 'kernel_stack' else 'u'}  {printable(frame)}"
                    )
            if any(row.get(side) for side in _STACKS):
                click.echo()
        return len(rows)
