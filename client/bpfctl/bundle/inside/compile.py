# SPDX-License-Identifier: Apache-2.0
"""Byte-compiling modules so that the same sources give the same bytes."""

from __future__ import annotations

import importlib.util
import marshal
from pathlib import Path

_UNCHECKED_HASH = 0b01
"""Flags of PEP 552: validated by hash, and that never."""

OPTIMIZATION = 2
"""Without assertions and docstrings: on a device nobody reads those."""


def compiled(source: bytes, shown: str) -> bytes:
    """The .pyc file of a source; tracebacks name the file `shown`."""
    code = compile(source, shown, "exec", dont_inherit=True, optimize=OPTIMIZATION)
    flags = _UNCHECKED_HASH.to_bytes(4, "little")
    digest = importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + flags + digest + marshal.dumps(code)


def write(source: Path, shown: str, target: Path) -> None:
    """Compiles a file; `target` is the .pyc, its folder is made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(compiled(source.read_bytes(), shown))
