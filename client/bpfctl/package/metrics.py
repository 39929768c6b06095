# SPDX-License-Identifier: Apache-2.0
"""The `[[metrics]]` of a `package.toml`: what of its maps a daemon shows as metrics."""

from __future__ import annotations

import re

from .model import Metric, PackageError
from .table import C_NAME, Table
from .views import step, unit

TYPES = ("counter", "gauge", "histogram")

BASE_UNITS = {
    **{"ns": ("seconds", 1e-9), "us": ("seconds", 1e-6)},
    **{"ms": ("seconds", 1e-3), "s": ("seconds", 1.0)},
    **{"bytes": ("bytes", 1.0), "KiB": ("bytes", 1024.0), "MiB": ("bytes", 1048576.0)},
}
"""Of units of maps: the unit that metrics are in, and what one is of it. Metrics are in base
units (OpenMetrics 1.0, section "Units and Base Units")."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}(=[a-zA-Z_][a-zA-Z0-9_.]{0,127})?")
_SUFFIXES = ("_total", "_created", "_bucket", "_count", "_sum", "_info")


def metrics(top: Table) -> tuple[Metric, ...]:
    """All metrics of a package; PackageError names the key that is wrong."""
    return tuple(_metric(table) for table in top.tables("metrics"))


def _metric(table: Table) -> Metric:
    name = table.name("name", _NAME)
    kind = table.take("type", str)
    if kind not in TYPES:
        raise PackageError(f"{table.where}type {kind!r} is not one of {', '.join(TYPES)}")
    labels = [text.partition("=") for text in table.texts("labels", _LABEL)]
    metric = Metric(
        name=name,
        type=kind,
        map=table.name("map", C_NAME),
        help=table.take("help", str),
        value=table.name("value", C_NAME, needed=False) or "",
        labels=tuple((label, member or label) for label, _, member in labels),
        unit=unit(table),
        step=step(table) if kind == "histogram" else 0,
    )
    table.done()
    _check_name(table, metric)
    return metric


def _check_name(table: Table, metric: Metric) -> None:
    where, name = f"{table.where}name", metric.name
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            raise PackageError(f"{where} ends with {suffix}, which OpenMetrics adds by itself")
    if name.startswith("bpfd_"):
        raise PackageError(f"{where} begins with bpfd_, as the daemon's own metrics do")
    base = BASE_UNITS.get(metric.unit, ("", 1.0))[0]
    if base and not name.endswith(f"_{base}"):
        raise PackageError(
            f"{where} does not end with _{base}: {metric.unit} are shown as {base}"
        )
    seen = {"object", "le"}
    for label, _ in metric.labels:
        if label in seen or label.startswith("__"):
            raise PackageError(f"{table.where}labels: {label} is taken")
        seen.add(label)
