# SPDX-License-Identifier: Apache-2.0
"""What a user names to be traced, as text.

tcp_connect                       a kernel function, else a tracepoint
kprobe:vfs_*   fentry:vfs_read    kernel functions
tracepoint:sched:sched_switch     with the fields of its record; "tp:" for short
raw_tp:sched_switch               with the kernel's own arguments
uprobe:/bin/bash:readline         functions of a program or library
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .errors import TraceError

Kind = Literal["bare", "kprobe", "fentry", "tracepoint", "raw_tp", "uprobe"]

_KINDS: dict[str, tuple[Kind, bool]] = {
    "kprobe": ("kprobe", False),
    "kretprobe": ("kprobe", True),
    "k": ("kprobe", False),
    "fentry": ("fentry", False),
    "fexit": ("fentry", True),
    "kfunc": ("fentry", False),
    "kretfunc": ("fentry", True),
    "tracepoint": ("tracepoint", False),
    "tp": ("tracepoint", False),
    "t": ("tracepoint", False),
    "raw_tp": ("raw_tp", False),
    "raw_tracepoint": ("raw_tp", False),
    "tp_btf": ("raw_tp", False),
    "uprobe": ("uprobe", False),
    "uretprobe": ("uprobe", True),
    "u": ("uprobe", False),
}

_NAME = re.compile(r"[\w.$*?\[\]!@<>~:,() &-]+")


@dataclass(frozen=True)
class Spec:
    """A parsed text."""

    kind: Kind
    name: str
    """Function or tracepoint, or a glob; of tracepoints without the category."""
    category: str = ""
    """Of a tracepoint; empty: any."""
    binary: str = ""
    """Of user functions: a path on the target, or a bare name as "libc.so.6"."""
    returns: bool = False
    """The kind itself speaks of the return, as kretprobe does."""

    @property
    def pattern(self) -> bool:
        """Whether several may fit."""
        return is_pattern(self.name) or is_pattern(self.category)

    def __str__(self) -> str:
        head = "" if self.kind == "bare" else f"{self.kind}:"
        middle = self.binary or self.category
        return f"{head}{middle}{':' if middle else ''}{self.name}"


def is_pattern(name: str) -> bool:
    """Whether a name is a glob."""
    return any(each in name for each in "*?[")


def parse(text: str) -> Spec:
    """The specification in a text; raises TraceError that says what would be one."""
    head, colon, rest = text.strip().partition(":")
    if not colon:
        category, slash, name = head.partition("/")
        if slash and category and name:
            return _checked(Spec("tracepoint", name, category), text)
        return _checked(Spec("bare", head), text)
    if head not in _KINDS:
        if rest and ":" not in rest and not head.startswith("/"):
            return _checked(Spec("tracepoint", rest, head), text)
        import difflib

        near = difflib.get_close_matches(head, _KINDS, 2)
        hint = f"did you mean {', '.join(near)}?" if near else f"there is {', '.join(_KINDS)}"
        raise TraceError("what to trace", f"{head!r} is no kind of probe; {hint}")
    kind, returns = _KINDS[head]
    if kind == "tracepoint":
        category, separator, name = rest.partition(":" if ":" in rest else "/")
        if not separator:
            category, name = "", rest
        return _checked(Spec(kind, name, category), text)
    if kind == "uprobe":
        # C++ names have colons of their own; paths hardly do.
        binary, _, name = rest.partition(":")
        if not binary or not name:
            raise TraceError("what to trace", f"{text!r}: it is {head}:BINARY:FUNCTION")
        return _checked(Spec(kind, name, binary=binary, returns=returns), text)
    return _checked(Spec(kind, rest, returns=returns), text)


def _checked(spec: Spec, text: str) -> Spec:
    if not _NAME.fullmatch(spec.name):
        raise TraceError("what to trace", f"{text!r} names no function and no tracepoint")
    return spec
