# SPDX-License-Identifier: Apache-2.0
"""How interfaces, namespaces, cgroups, maps and programs are named in an attach point.

    interface   eth0                 ifindex:7
    netns       blue                 /run/netns/blue   pid:123
    cgroup      /sys/fs/cgroup/web   id:1234
    map         OBJECT/NAME, NAME    5 (kernel id)     /sys/fs/bpf/pin
    program     OBJECT/NAME, NAME    5 (kernel id)     /sys/fs/bpf/pin

Where a name could be taken for something else it is written with its field before it:
`name:ifindex:7`, `path:x`, `pin:x`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .text import InvalidAttachPoint, escape, number, split, unescape


@dataclass(frozen=True)
class Reference:
    """A message with one `ref` and how its text is read and written."""

    hint: str
    read: Callable[[Any, str], None]
    """Fills the message from a text with its escapes; raises InvalidAttachPoint."""
    write: Callable[[Any], str]
    """The text with escapes; empty: nothing is set."""


def _read_marked(message: Any, raw: str, numbers: dict[str, int], texts: list[str]) -> bool:
    """`MARKER:VALUE` of a number or a text; False: there is no known marker."""
    marker, *rest = split(raw, ":", 1)
    if not rest:
        return False
    if marker in numbers:
        value = number(rest[0], marker, numbers[marker])
        setattr(message, marker, value)
        return True
    for text in texts:
        if marker == text.partition("_")[0]:
            setattr(message, text, unescape(rest[0]))
            return True
    return False


def _plain(text: str, field: str, markers: tuple[str, ...], ambiguous: bool = False) -> str:
    """The text, with its field before it where it would be read as something else."""
    head, colon, _ = text.partition(":")
    if ambiguous or not text or (colon and head in markers):
        return f"{field}:{escape(text)}"
    return escape(text)


def _read_interface(message: Any, raw: str) -> None:
    if not _read_marked(message, raw, {"ifindex": 32}, ["name"]):
        message.name = unescape(raw)
    if message.WhichOneof("ref") == "name" and not message.name:
        raise InvalidAttachPoint("the interface's name is empty")


def _write_interface(message: Any) -> str:
    kind = message.WhichOneof("ref")
    if kind == "ifindex":
        return f"ifindex:{message.ifindex}"
    return _plain(message.name, "name", ("ifindex", "name")) if kind else ""


def _read_netns(message: Any, raw: str) -> None:
    if _read_marked(message, raw, {"pid": 32}, ["name", "path"]):
        return
    text = unescape(raw)
    if not text:
        raise InvalidAttachPoint("netns is a name, an absolute path or pid:NUMBER")
    setattr(message, "path" if text.startswith("/") else "name", text)


def _write_netns(message: Any) -> str:
    kind = message.WhichOneof("ref")
    markers = ("pid", "name", "path")
    if kind == "pid":
        return f"pid:{message.pid}"
    if kind == "path":
        return _plain(message.path, "path", markers, not message.path.startswith("/"))
    return _plain(message.name, "name", markers, message.name.startswith("/")) if kind else ""


def _read_cgroup(message: Any, raw: str) -> None:
    if not _read_marked(message, raw, {"id": 64}, ["path"]):
        message.path = unescape(raw)
    if message.WhichOneof("ref") == "path" and not message.path:
        raise InvalidAttachPoint("the cgroup's path is empty")


def _write_cgroup(message: Any) -> str:
    kind = message.WhichOneof("ref")
    if kind == "id":
        return f"id:{message.id}"
    return _plain(message.path, "path", ("id", "path")) if kind else ""


def _read_member(message: Any, raw: str) -> None:
    if _read_marked(message, raw, {}, ["pin_path"]):
        return
    if raw.isascii() and raw.isdigit():
        message.id = number(raw.lstrip("0") or "0", "a kernel id", 32)
        return
    if raw.startswith("/"):
        message.pin_path = unescape(raw)
        return
    *owner, name = split(raw, "/", 1)
    if not name or owner == [""]:
        raise InvalidAttachPoint(f"{raw!r} is no OBJECT/NAME, kernel id or path of a pin")
    message.member.object = unescape(owner[0]) if owner else ""
    message.member.name = unescape(name)


def _write_member(message: Any) -> str:
    kind = message.WhichOneof("ref")
    if kind == "id":
        return str(message.id)
    if kind == "pin_path":
        return _plain(message.pin_path, "pin", ("pin",), not message.pin_path.startswith("/"))
    if kind is None:
        return ""
    owner = escape(message.member.object, "/:")
    if owner:
        return f"{owner}/{escape(message.member.name)}"
    name = escape(message.member.name, "/:")
    return f"\\{name}" if name.isascii() and name.isdigit() else name


INTERFACE = Reference("INTERFACE", _read_interface, _write_interface)
NETNS = Reference("NETNS", _read_netns, _write_netns)
CGROUP = Reference("CGROUP", _read_cgroup, _write_cgroup)
MAP = Reference("MAP", _read_member, _write_member)
PROGRAM = Reference("PROGRAM", _read_member, _write_member)
