# SPDX-License-Identifier: Apache-2.0
"""Boards among the named targets.

Which targets are boards is noted beside the keys, by name and address: what the user has
changed, or named so before, is left alone.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from bpfctl.config import TargetConfig, changing_targets, config_dir, load_targets

from .errors import LabError


def check(name: str) -> None:
    """Raises LabError when a target of that name is something else than a board."""
    config = load_targets().get(name)
    if config is not None and _read().get(name) != _place(config):
        raise LabError(
            f"there is a target {name} already, and it is no virtual board",
            "give the board another name with --name",
        )


def note(name: str, config: TargetConfig) -> None:
    """Make a board the target of its name."""
    with changing_targets() as targets:
        targets[name] = config
        _write({**_read(), name: _place(config)})


def forget(name: str) -> bool:
    """Remove the target of a board, if it is still that; gives whether it was there."""
    if name not in _read():
        return False
    with changing_targets() as targets:
        noted = _read()
        place = noted.pop(name, None)
        config = targets.get(name)
        if config is not None and _place(config) == place:
            del targets[name]
        _write(noted)
    return True


def noted() -> list[str]:
    """Names of boards that are targets, or were when they were last seen."""
    return list(_read())


def _place(config: TargetConfig) -> str:
    return f"{config.transport} {config.address}"


def _file() -> Path:
    return config_dir() / "lab" / "targets.json"


def _read() -> dict[str, str]:
    try:
        table = json.loads(_file().read_text())
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}


def _write(table: dict[str, str]) -> None:
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(table, file)
    os.replace(file.name, path)
