# SPDX-License-Identifier: Apache-2.0
"""The data folder `devices/`: recipes of the bundle and of the virtual boards."""

from __future__ import annotations

from pathlib import Path


def folder(*names: str) -> Path:
    """`devices/` of the checkout, or its copy in an installed wheel, and below it."""
    here = Path(__file__).resolve().parent
    checkout = here.parent.parent / "devices"
    return (checkout if checkout.is_dir() else here / "devices").joinpath(*names)
