# SPDX-License-Identifier: Apache-2.0
"""The views of a package, as `bpfctl run` shows them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bpfctl.cli.show_maps import show_maps
from bpfctl.cli.show_table import show_table
from bpfctl.errors import InvalidArgument

if TYPE_CHECKING:
    from bpfctl.cli.invocation import Invocation
    from bpfctl.objects import LoadedObject
    from bpfctl.output import RowStream
    from bpfctl.package import Package, View
    from bpfctl.package.model import Value

_MOST = 20
"""Histograms of one view in a terminal, those with the most values."""


def show_views(
    invocation: Invocation,
    loaded: LoadedObject,
    stream: RowStream | None,
    package: Package | None,
    values: Mapping[str, Value],
) -> None:
    """A package's views, or all maps where there are none. `values`: the settings' ones.

    Rows of other formats than tables go into `stream`, each with the view's name.
    """
    if package is None or not package.views:
        show_maps(invocation, loaded, stream)
        return
    for view in package.views:
        if view.map not in loaded.maps:
            continue
        if view.kind == "histogram":
            _show_histograms(invocation, loaded, stream, view, values)
        else:
            show_table(invocation, loaded, stream, view)
    sys.stdout.flush()


def _show_histograms(
    invocation: Invocation,
    loaded: LoadedObject,
    stream: RowStream | None,
    view: View,
    values: Mapping[str, Value],
) -> None:
    from bpfctl.histograms import HistogramError, from_rows

    step = view.step if isinstance(view.step, int) else int(values.get(view.step, 0))
    rows = loaded.map(view.map).rows()
    try:
        found = from_rows(rows, keys=view.keys, unit=view.unit, step=step)
    except HistogramError as error:
        raise InvalidArgument(f"views[{view.name}]", f"map {view.map}: {error}") from None
    written: list[dict[str, Any]] = [{"view": view.name, **each.row()} for each in found]
    if stream is not None:
        for row in written:
            stream.write(row)
    elif invocation.format != "table":
        invocation.output.rows(written)
    else:
        from bpfctl.histograms.draw import lines

        ascii_only = not (sys.stdout.encoding or "ascii").lower().startswith("utf")
        width = shutil.get_terminal_size((100, 24)).columns
        for each in found[:_MOST]:
            drawn = lines(each, view.description, width=width, ascii_only=ascii_only)
            sys.stdout.write("\n" + "\n".join(drawn) + "\n")
        if len(found) > _MOST:
            sys.stdout.write(f"\n... and {len(found) - _MOST} more histograms\n")
