# SPDX-License-Identifier: Apache-2.0
"""Asking the user for a password, a passphrase, or whether a key is right, as ssh does.

At the terminal, never echoed; without one by the program that SSH_ASKPASS names, as ssh(1)
describes (BPFCTL_SSH_ASKPASS goes before it, and is always used). Nothing is kept.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import threading

_asking = threading.RLock()
"""One question at a time: several targets may be connected to at once."""


class Unanswered(Exception):
    """Nobody can be asked, or did not want to answer."""


class Prompt:
    """A way to the user; `batch`: there is none (BatchMode)."""

    def __init__(self, *, batch: bool = False) -> None:
        self._program = "" if batch else _askpass()
        self._terminal = not batch and not self._program and _at_terminal()

    @property
    def possible(self) -> bool:
        """Whether anybody can be asked."""
        return bool(self._program) or self._terminal

    def secret(self, text: str) -> str:
        """A password or passphrase. Raises Unanswered."""
        with _asking:
            if self._program:
                return _run(self._program, text)
            if not self._terminal:
                raise Unanswered
            try:
                return getpass.getpass(text)
            except EOFError:
                raise Unanswered from None

    def visible(self, text: str) -> str:
        """An answer that may be seen. Raises Unanswered."""
        with _asking:
            if self._program:
                return _run(self._program, text)
            if not self._terminal:
                raise Unanswered
            sys.stderr.write(text)
            sys.stderr.flush()
            line = sys.stdin.readline()
            if not line:
                raise Unanswered
            return line.rstrip("\n")


def _at_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def _askpass() -> str:
    """The program to ask with; empty: none. The rules are those of ssh(1), ENVIRONMENT."""
    own = os.environ.get("BPFCTL_SSH_ASKPASS", "")
    if own:
        return own
    program = os.environ.get("SSH_ASKPASS", "")
    required = os.environ.get("SSH_ASKPASS_REQUIRE", "")
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if required == "never" or not program:
        return ""
    if required == "force" or (display and (required == "prefer" or not _at_terminal())):
        return program
    return ""


def _run(program: str, text: str) -> str:
    try:
        done = subprocess.run([program, text], stdout=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        print(f"bpfctl: {program}: {error.strerror}", file=sys.stderr)
        raise Unanswered from None
    if done.returncode != 0:
        raise Unanswered
    return done.stdout.rstrip("\n")
