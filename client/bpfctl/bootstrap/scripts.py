# SPDX-License-Identifier: Apache-2.0
"""The shell scripts that run on targets, each with its arguments."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from bpfctl.bootstrap.shell import RUN_SECONDS, Completed, Shell

_FOLDER = Path(__file__).parent / "scripts"


@cache
def _source(name: str) -> str:
    """A script without its comments: it travels on every run."""
    lines = (_FOLDER / f"{name}.sh").read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def text(name: str, *arguments: str) -> str:
    """The script `name` with its arguments, ready for a shell."""
    words = " ".join(map(shlex.quote, arguments))
    return f"set -- {words}\n{_source('common')}\n{_source(name)}\n"


def run(
    shell: Shell,
    name: str,
    *arguments: str,
    stdin: bytes | Iterable[bytes] = b"",
    timeout: float = RUN_SECONDS,
) -> Completed:
    """Runs a script of `scripts/` on the target; see `Shell.run`."""
    return shell.run(text(name, *arguments), stdin, timeout=timeout)
