# SPDX-License-Identifier: Apache-2.0
"""Boards as rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from . import image, state
from .recipe import Recipe, recipes


def rows() -> Iterator[dict[str, Any]]:
    """A row for each recipe, or for each board of it that runs."""
    running = state.running()
    for recipe in recipes().values():
        own = [each for each in running if each.recipe == recipe.name]
        yield from (_row(recipe, each) for each in own)
        if not own:
            yield _row(recipe, None)


def _row(recipe: Recipe, running: state.Running | None) -> dict[str, Any]:
    """Memory in MiB, of QEMU's own in bytes; uptime in whole seconds."""
    row: dict[str, Any] = {
        "name": running.name if running else recipe.name,
        "recipe": recipe.name,
        "summary": recipe.summary,
        "arch": recipe.arch,
        "suite": recipe.suite,
        "kernel": running.release if running else image.known_release(recipe) or recipe.series,
        "state": "up" if running else "off",
        "memory": running.memory if running else recipe.memory,
        "cpus": running.cpus if running else recipe.cpus,
        "quirks": list(recipe.quirks),
    }
    if running is None:
        absent = ("ssh", "adb", "android", "joined", "uptime", "pid", "resident")
        return {**row, **dict.fromkeys(absent)}
    return {
        **row,
        "ssh": running.ssh_port,
        "adb": running.adb_port or None,
        "android": running.android,
        "joined": running.joined or None,
        "uptime": int(time.time() - running.since),
        "pid": running.process.pid,
        "resident": running.process.resident,
    }
