# SPDX-License-Identifier: Apache-2.0
"""A view of a package that is a table, as `bpfctl run` shows it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from bpfctl.errors import BpfctlError, InvalidArgument

if TYPE_CHECKING:
    from bpfctl.btf.roles import IntegerRole
    from bpfctl.cli.invocation import Invocation
    from bpfctl.objects import LoadedObject
    from bpfctl.output import RowStream
    from bpfctl.package import View
    from bpfctl.target import Target

_MOST = 30
"""Rows in a terminal, the first of the order."""


def show_table(
    invocation: Invocation, loaded: LoadedObject, stream: RowStream | None, view: View
) -> None:
    """Rows of other formats than tables go into `stream`, each with the view's name."""
    from bpfctl import naming
    from bpfctl.btf.roles import Duration
    from bpfctl.tables import TableError, table

    entry = loaded.map(view.map)
    roles = {**naming.roles(entry.value), **naming.roles(entry.key)}
    times = [name for name, role in roles.items() if isinstance(role, Duration) and role.clock]
    try:
        rows = table(entry.rows(), view.keys, sort=view.sort, times=times)
    except TableError as error:
        raise InvalidArgument(f"views[{view.name}]", f"map {view.map}: {error}") from None
    shown = rows if invocation.format != "table" else rows[:_MOST]
    columns = list(shown[0]) if shown else []
    named = [name for name, role in roles.items() if naming.is_named(role)]
    if found := [name for name in named if name in columns]:
        naming.Naming(loaded, found).name(shown)
    if stream is not None:
        for row in shown:
            stream.write({"view": view.name, **row})
    elif invocation.format != "table":
        invocation.output.rows({"view": view.name, **row} for row in shown)
    else:
        now = _now(loaded.target) if set(times) & set(columns) else 0
        _write(invocation, view, shown, roles, now)
        if len(rows) > _MOST:
            sys.stdout.write(f"... and {len(rows) - _MOST} more rows\n")


def _write(
    invocation: Invocation,
    view: View,
    rows: list[dict[str, Any]],
    roles: dict[str, IntegerRole],
    now: int,
) -> None:
    from bpfctl.btf.roles import Duration
    from bpfctl.cli.show_top import duration

    texts: list[dict[str, Any]] = []
    for row in rows:
        cells = dict(row)
        for name, value in row.items():
            role = roles.get(name)
            if isinstance(role, Duration):
                nanoseconds = max(0, now - value) if role.clock else value
                cells[name] = duration(nanoseconds)
        texts.append(cells)
    sys.stdout.write(f"\n{view.description}\n")
    invocation.output.rows(texts)


def _now(target: Target) -> int:
    """Nanoseconds since the target booted, those asleep too; 0: it does not tell."""
    try:
        seconds = target.files.read("/proc/uptime").split()[0]
    except (BpfctlError, IndexError):
        return 0
    return int(float(seconds) * 10**9)
