# SPDX-License-Identifier: Apache-2.0
"""Values of profiles as people read them."""

from __future__ import annotations

from bpfctl.profiles.tree import FlameGraph

_TIMES = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns"))
_SIZES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def amount(value: float, unit: str) -> str:
    """`1.234 s`, `12.5 MiB`, `1,234 samples`."""
    steps: tuple[tuple[int, str], ...] = ()
    if unit == "nanoseconds":
        steps = _TIMES
    elif unit == "bytes":
        steps = _SIZES
    for size, name in steps:
        if abs(value) >= size:
            return f"{value / size:.4g} {name}" if size > 1 else f"{value} {name}"
    return f"{round(value):,} {unit}"


def share(value: float, total: float) -> str:
    """`12.34 %`; of nothing, nothing."""
    return f"{100 * value / total if total else 0:.2f} %"


def facts(graph: FlameGraph) -> list[str]:
    """What is to be said of a profile beside its title."""
    said = [f"target {graph.target}"] if graph.target else []
    if graph.started is not None:
        said.append(f"started {graph.started:%Y-%m-%d %H:%M:%S %Z}".rstrip())
    if graph.duration_s:
        said.append(f"{graph.duration_s:.4g} s")
    said.append(amount(graph.root.value, graph.unit))
    return said


def missed(graph: FlameGraph) -> str:
    """What is not in the picture or not whole; empty: nothing."""
    said = [f"{count:,} {why}" for why, count in graph.missed.items() if count]
    return f"Missed: {', '.join(said)}." if said else ""
