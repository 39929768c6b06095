# SPDX-License-Identifier: Apache-2.0
"""Numbers with units, short: "512 us", "1.05 s", "64 KiB", "12.3k"."""

from __future__ import annotations

_TIMES = (("s", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1.0))
_SIZES = (("TiB", 2.0**40), ("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10), ("B", 1.0))
_COUNTS = (("G", 1e9), ("M", 1e6), ("k", 1e4))

_IN_TIMES = dict(_TIMES)
_IN_SIZES = {"bytes": 1.0, **dict(_SIZES)}


def text(value: float, unit: str) -> str:
    """A number of `unit` in the unit that fits, three digits: times and bytes change theirs,
    other units stay."""
    if unit in _IN_TIMES:
        return _fitting(value * _IN_TIMES[unit], _TIMES)
    if unit in _IN_SIZES:
        return _fitting(value * _IN_SIZES[unit], _SIZES)
    number = count(value)
    return f"{number} {unit}" if unit else number


def count(value: float) -> str:
    """A number without unit, short from 10,000 on."""
    for suffix, factor in _COUNTS:
        if abs(value) >= factor:
            scaled = value / (1e3 if suffix == "k" else factor)
            return _three(scaled) + suffix
    return _three(value)


def _fitting(value: float, units: tuple[tuple[str, float], ...]) -> str:
    for name, factor in units:
        if abs(value) >= factor:
            return f"{_three(value / factor)} {name}"
    name, factor = units[-1]
    return f"{_three(value / factor)} {name}" if value else "0"


def _three(value: float) -> str:
    """Three digits at least, no zeros behind the point."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 10 else f"{value:.3g}"
