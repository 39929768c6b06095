# SPDX-License-Identifier: Apache-2.0
"""Virtual boards: kernels of Debian for several CPUs, each in a QEMU, as targets.

    with lab.up("arm64-6.12") as board:
        print(board.run("uname -a").text)

Nothing here needs privileges. Boards outlive the program that started them, until `down`.
"""

from __future__ import annotations

from .board import READY_SECONDS, Board
from .errors import LabError
from .recipe import Recipe, recipes
from .rootfs import Look
from .start import Wishes, board, boards, down, down_all, up

__all__ = [
    "READY_SECONDS",
    "Board",
    "LabError",
    "Look",
    "Recipe",
    "Wishes",
    "board",
    "boards",
    "down",
    "down_all",
    "recipes",
    "up",
]
