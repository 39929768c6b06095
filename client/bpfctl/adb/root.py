# SPDX-License-Identifier: Apache-2.0
"""How the shell of a device becomes root, which loading BPF programs needs."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from bpfctl.bootstrap.shell import Completed
from bpfctl.errors import TargetUnreachable

_WAYS = ("su 0 sh -c %s", "su -c %s")
"""AOSP's su of debuggable builds, which toybox's is too; then Magisk's and its kin."""
_ASK = "while read -r k r e x; do case $k in Uid:) echo $e;; esac; done </proc/self/status"
"""Prints the effective user; not every device has id(1)."""
_SECONDS = 15.0
"""su of a rooted device may ask its user, and waits for about ten seconds."""


def as_root(way: str, script: str) -> str:
    """The command that runs a script by a way that `find_root` found."""
    return way.replace("%s", shlex.quote(script)) if way else script


def find_root(name: str, host: str, run: Callable[[str, float], Completed]) -> str:
    """How scripts of the target `name` get to be root's; empty: they are already.

    `run` runs a script as the shell's own user. Raises TargetUnreachable.
    """
    own = run(_ASK, _SECONDS)
    if _is_root(own):
        return ""
    refusals: list[str] = []
    for way in _WAYS:
        try:
            answer = run(as_root(way, _ASK), _SECONDS)
        except TimeoutError:
            refusals.append(f"`{way.partition(' %s')[0]}`: no answer")
            continue
        if _is_root(answer):
            return way
        if answer.status != 127:
            refusals.append(f"`{way.partition(' %s')[0]}`: {answer.words}")
    raise TargetUnreachable(
        name,
        f"the shell of {host} is not root's (uid {own.text.strip() or 'unknown'}), "
        + (f"and su does not help ({'; '.join(refusals)})" if refusals else "and has no su"),
        "BPF needs root: `adb root` on a debuggable build (userdebug, eng), or a su that lets "
        "the shell in",
    )


def _is_root(answer: Completed) -> bool:
    return answer.status == 0 and answer.text.strip() == "0"
