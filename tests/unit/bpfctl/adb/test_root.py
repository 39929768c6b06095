# SPDX-License-Identifier: Apache-2.0
"""How the shell of a device becomes root."""

from __future__ import annotations

import pytest
from bpfctl.adb.root import as_root, find_root
from bpfctl.bootstrap.shell import Completed
from bpfctl.errors import TargetUnreachable

SHELL = Completed(0, b"2000\n", b"")
ROOT = Completed(0, b"0\n", b"")
MISSING = Completed(127, b"", b"/system/bin/sh: su: inaccessible or not found\n")


def way_to_root(own: Completed, **ways: Completed) -> str:
    """What `find_root` finds; `ways` are the answers to `su_0` and `su_c`."""
    asked: list[str] = []

    def run(script: str, timeout: float) -> Completed:
        asked.append(script)
        if not script.startswith("su "):
            return own
        return ways.get("su_0" if script.startswith("su 0 sh -c ") else "su_c", MISSING)

    way = find_root("phone", "0123", run)
    assert as_root(way, asked[0]) == asked[-1]
    return way


def test_already_root() -> None:
    assert way_to_root(ROOT) == ""
    assert as_root("", "exit 3") == "exit 3"


def test_su_of_debuggable_builds() -> None:
    assert way_to_root(SHELL, su_0=ROOT) == "su 0 sh -c %s"
    assert as_root("su 0 sh -c %s", "echo '100%s'") == "su 0 sh -c 'echo '\"'\"'100%s'\"'\"''"


def test_su_of_rooted_devices() -> None:
    odd = Completed(1, b"", b"su: invalid uid/gid '0'\n")
    assert way_to_root(SHELL, su_0=odd, su_c=ROOT) == "su -c %s"


def test_no_su() -> None:
    with pytest.raises(TargetUnreachable) as caught:
        way_to_root(SHELL)
    said = str(caught.value)
    assert "the shell of 0123 is not root's (uid 2000), and has no su" in said
    assert "`adb root` on a debuggable build" in said


def test_su_that_refuses() -> None:
    denied = Completed(13, b"", b"Permission denied\n")
    with pytest.raises(TargetUnreachable, match=r"`su -c`: Permission denied"):
        way_to_root(SHELL, su_c=denied)


def test_su_that_stays_what_it_was() -> None:
    with pytest.raises(TargetUnreachable, match="su does not help"):
        way_to_root(SHELL, su_0=SHELL)
