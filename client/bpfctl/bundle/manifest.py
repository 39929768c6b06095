# SPDX-License-Identifier: Apache-2.0
"""What is in a bundle, where it is from, and under which licences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

FORMAT = 1
"""Raised when the meaning of a field changes."""


@dataclass(frozen=True)
class Component:
    """A package, a wheel, or the daemon."""

    name: str
    version: str
    file: str
    """Name of the package's file; empty for the daemon."""
    sha256: str
    """Of that file; of the daemon's sources."""
    licenses: tuple[str, ...]
    """Files of the bundle."""


def manifest(
    *,
    version: str,
    arch: str,
    python: str,
    components: Sequence[Component],
    files: Mapping[str, bytes],
) -> bytes:
    """manifest.json of a bundle with these files; the file itself is not listed."""
    table = {
        "format": FORMAT,
        "name": "bpfd",
        "version": version,
        "architecture": arch,
        "python": python,
        "components": [asdict(each) for each in sorted(components, key=lambda e: e.name)],
        "files": {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)},
    }
    return json.dumps(table, indent=1).encode() + b"\n"
