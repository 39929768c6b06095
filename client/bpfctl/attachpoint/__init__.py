# SPDX-License-Identifier: Apache-2.0
"""Attach points as text, and what an ELF section says of where a program goes.

    KIND[:SUBJECT][,WORD|,KEY=VALUE]...

    xdp:eth0,mode=generic,netns=blue      tracepoint:sched/sched_switch
    tc:eth0,ingress                       uprobe:/bin/bash:readline+4,pid=1
    cgroup_skb:/sys/fs/cgroup/x,egress    perf_event:cpu-clock,frequency=99

A backslash takes the meaning from a comma, colon, plus or slash in a name. Everything that
`protos/bpfd/v1/attach.proto` can say can be written, see `kinds` and `references`;
`describe` is the inverse of `parse`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .text import InvalidAttachPoint, near, split

if TYPE_CHECKING:
    from bpfd.v1 import attach_pb2

    from .sections import Suggestion

__all__ = [
    "InvalidAttachPoint",
    "complete",
    "describe",
    "from_section",
    "kind_names",
    "parse",
    "split_program",
]

_PROGRAM = re.compile(r"([A-Za-z_][\w.]*)=(.*)", re.DOTALL)


def split_program(text: str) -> tuple[str | None, str]:
    """`PROGRAM=POINT` into both; without `PROGRAM=` the program is None."""
    match = _PROGRAM.fullmatch(text)
    return (match[1], match[2]) if match else (None, text)


def parse(text: str) -> attach_pb2.AttachPoint:
    """The attach point that a text names; raises InvalidAttachPoint."""
    from bpfd.v1 import attach_pb2

    from .kinds import BY_NAME

    head, *tokens = split(text, ",")
    name, *where = split(head, ":", 1)
    kind = BY_NAME.get(name)
    if kind is None:
        known = near(name, BY_NAME) or f"; there is {', '.join(kind_names())}"
        raise InvalidAttachPoint(f"{text!r}: there is no kind of attach point {name!r}{known}")
    point = attach_pb2.AttachPoint()
    message = getattr(point, kind.field)
    message.SetInParent()
    try:
        for key, value in kind.preset:
            setattr(message, key, value)
        if where and where[0]:
            kind.subject.read(message, where[0])
        elif where or (kind.subject.hint and not kind.subject.optional):
            raise InvalidAttachPoint(f"write {kind.form}")
        seen: set[str] = set()
        for token in tokens:
            oneofs = {
                oneof.name: message.WhichOneof(oneof.name)
                for oneof in message.DESCRIPTOR.oneofs
            }
            kind.options.read(message, token, seen)
            for oneof, before in oneofs.items():
                if before and message.WhichOneof(oneof) != before:
                    raise InvalidAttachPoint(f"{token!r} and {before} exclude each other")
    except InvalidAttachPoint as error:
        raise InvalidAttachPoint(f"{text!r}: {error}") from None
    return point


def describe(point: attach_pb2.AttachPoint) -> str:
    """The text that `parse` turns into this attach point; empty for an unset one.

    A point whose subject is not set, as `from_section` may give, is written without it.
    """
    from .kinds import KINDS

    field = point.WhichOneof("point")
    if field is None:
        return ""
    message = getattr(point, field)
    kind = next(
        kind
        for kind in KINDS
        if kind.field == field
        and all(getattr(message, key) == value for key, value in kind.preset)
    )
    where = kind.subject.write(message)
    head = f"{kind.name}:{where}" if where else kind.name
    return ",".join([head, *kind.options.write(message)])


def complete(point: attach_pb2.AttachPoint, subject: str) -> attach_pb2.AttachPoint:
    """A point of `from_section` that needs something, with that filled in.

    `subject` is written as in `parse`, options may follow: "eth0", "eth0,netns=blue". For
    a point that needs a network namespace it is that; empty: the daemon's own. Raises
    InvalidAttachPoint.
    """
    from .kinds import BY_NAME

    kind, *options = split(describe(point), ",")
    if not BY_NAME[kind].subject.hint:
        return parse(",".join([kind, *options, *([f"netns={subject}"] if subject else [])]))
    return parse(",".join([f"{kind}:{subject}", *options]))


def from_section(section: str) -> Suggestion:
    """What the name of a program's ELF section says of where it goes.

    Raises InvalidAttachPoint for a section that libbpf does not know, with near names.
    """
    from . import sections

    return sections.suggest(section)


def kind_names() -> list[str]:
    """The names that `parse` knows, without aliases, in alphabetical order."""
    from .kinds import KINDS

    return sorted(kind.name for kind in KINDS)
