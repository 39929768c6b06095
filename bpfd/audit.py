# SPDX-License-Identifier: Apache-2.0
"""The audit log: one JSON line for every call that changes something."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from bpfd.security import Caller

DEFAULT_LIMIT = 16 << 20
"""Bytes after which the log in the state folder, which is memory, starts anew."""

_TEXT_LIMIT = 128
_DEPTH_LIMIT = 3

_log = logging.getLogger("bpfd.audit")


@dataclass(frozen=True)
class Audit:
    """Appends to `path`; past `limit` bytes the file becomes `path`.1 (0: never).

    The file is opened for every line, so that whoever rotates it may move it away.
    """

    path: str
    limit: int = 0

    def write(
        self,
        caller: Caller,
        method: str,
        subject: dict[str, Any],
        outcome: str,
        detail: str = "",
    ) -> None:
        """Appends one line, with one write. A log that cannot be written is itself logged."""
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
            + f".{time.time_ns() // 1_000_000 % 1000:03d}Z",
            "role": str(caller.role),
            "peer": caller.peer,
            "rpc": method.removeprefix("/bpfd.v1.").replace("/", "."),
            "outcome": outcome,
        }
        if caller.name:
            entry["name"] = caller.name
        if subject:
            entry["request"] = subject
        if detail:
            entry["detail"] = detail[:512]
        line = json.dumps(entry, separators=(",", ":"), ensure_ascii=True) + "\n"
        try:
            self._append(line.encode())
        except OSError as error:
            _log.error("the audit log cannot be written: %s; lost: %s", error, line.rstrip())

    def _append(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(self.path, flags, 0o600)
        try:
            os.write(handle, line)
            full = self.limit and os.fstat(handle).st_size > self.limit
        finally:
            os.close(handle)
        if full:
            os.replace(self.path, self.path + ".1")


def subject(request: Any, depth: int = 0) -> dict[str, Any]:
    """What a request names: its texts and numbers, never its bytes; lists as their length."""
    found: dict[str, Any] = {}
    for field, value in request.ListFields():
        if field.is_repeated:
            found[field.name] = f"{len(value)} entries"
        elif field.type == FieldDescriptor.TYPE_BYTES:
            found[field.name] = f"{len(value)} bytes"
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            found[field.name] = subject(value, depth + 1) if depth < _DEPTH_LIMIT else "..."
        elif field.type == FieldDescriptor.TYPE_STRING:
            found[field.name] = value[:_TEXT_LIMIT]
        elif field.type == FieldDescriptor.TYPE_ENUM:
            name = field.enum_type.values_by_number.get(value)
            found[field.name] = name.name if name else value
        else:
            found[field.name] = value
    return found
