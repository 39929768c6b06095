# SPDX-License-Identifier: Apache-2.0
"""Running a command for boards that are switched on for it where they are off."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence

from bpfctl.errors import NotFound
from bpfctl.progress import Progress, silent

from . import login
from .board import READY_SECONDS, Board
from .start import AS_RECIPE, Wishes, board, up


def run(
    name: str,
    words: Sequence[str],
    *,
    wishes: Wishes = AS_RECIPE,
    in_guest: bool = False,
    timeout: float = READY_SECONDS,
    progress: Progress = silent,
) -> int:
    """Run a command for a board and give its exit status.

    The command runs on this machine with BPFCTL_TARGET set to the board, or on the board when
    `in_guest`. A board that was off is switched off again, however it ends.
    """
    try:
        return _run(board(name), words, in_guest)
    except NotFound:
        pass
    with up(name, wishes, daemon=not in_guest, timeout=timeout, progress=progress) as started:
        return _run(started, words, in_guest)


def _run(found: Board, words: Sequence[str], in_guest: bool) -> int:
    if in_guest:
        # One word for the far side's shell is taken as it is, as ssh does.
        text = words[0] if len(words) == 1 else shlex.join(words)
        return subprocess.run(login.command(found.ssh, [text])).returncode
    environment = {**os.environ, "BPFCTL_TARGET": found.name}
    status = subprocess.run(list(words), env=environment).returncode
    # As shells tell it: 128 and the number of the signal.
    return 128 - status if status < 0 else status
