# SPDX-License-Identifier: Apache-2.0
"""QEMU's monitor of a board
(https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html)."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from .errors import LabError

SECONDS = 10.0
"""How long an answer may take."""


def execute(path: Path, command: str, **arguments: Any) -> Any:
    """Run a command of the machine protocol; gives what it returns.

    Raises LabError for what QEMU refuses, OSError when nobody answers at `path`.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(str(path))
        with connection.makefile("rwb") as stream:
            json.loads(_line(stream))
            _ask(stream, "qmp_capabilities", {})
            return _ask(stream, command, arguments)


def _ask(stream: Any, command: str, arguments: dict[str, Any]) -> Any:
    stream.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
    stream.flush()
    while True:
        answer = json.loads(_line(stream))
        if "error" in answer:
            raise LabError(f"QEMU refuses {command}: {answer['error'].get('desc', '')}")
        if "return" in answer:
            return answer["return"]


def _line(stream: Any) -> bytes:
    line: bytes = stream.readline()
    if not line:
        raise ConnectionResetError("QEMU closed its monitor")
    return line
