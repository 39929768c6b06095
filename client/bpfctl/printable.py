# SPDX-License-Identifier: Apache-2.0
"""Texts of others, as names in an object, on a terminal."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """`text` with control characters as escapes: a name must not steer a terminal.

    Those in `keep` stay.
    """
    if text.isprintable():
        return text
    return "".join(
        each
        if each.isprintable() or each in keep
        else each.encode("unicode_escape").decode("ascii")
        for each in text
    )
