# SPDX-License-Identifier: Apache-2.0
"""`bpfd purge`: detaches and removes all that daemons have left, without serving."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import partial

from bpfd.daemon import EX_CANTCREAT, EX_TEMPFAIL, StartError
from bpfd.errors import BpfdError
from bpfd.kernel import bpffs, lockfile, mounts
from bpfd.maps import pins
from bpfd.objects.objects import Objects
from bpfd.sessions import Sessions

EX_UNFINISHED = 1
"""Something could not be removed; it was said what."""


def run(bpffs_dir: str, state_dir: str) -> int:
    """Removes every object and link, the folder of the pins included; gives the exit code."""
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        return _run(bpffs_dir, state_dir)
    except StartError as error:
        print(f"bpfd: {error}", file=sys.stderr)
        return error.code


def _run(bpffs_dir: str, state_dir: str) -> int:
    folder = os.path.join(bpffs_dir, "bpfd")
    lock = _lock(bpffs_dir, folder)
    try:
        objects = Objects(bpffs_dir, state_dir, Sessions())
        objects.take_over()
        failures = _remove(objects)
        objects.close()
        bpffs.remove(folder)
    finally:
        os.close(lock)
    for failure in failures:
        print(f"bpfd: {failure}", file=sys.stderr)
    return EX_UNFINISHED if failures else 0


def _lock(bpffs_dir: str, folder: str) -> int:
    try:
        mounts.ensure_bpffs(bpffs_dir)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return lockfile.lock_folder(folder)
    except lockfile.Held as held:
        raise StartError(
            EX_TEMPFAIL, f"a bpfd (pid {held.pid}) keeps its pins in {folder}; stop it first"
        ) from None
    except OSError as error:
        raise StartError(EX_CANTCREAT, f"{error.filename}: {error.strerror}") from None
    except BpfdError as error:
        raise StartError(EX_CANTCREAT, str(error)) from None


def _remove(objects: Objects) -> list[str]:
    """What could not be removed, and why."""
    links = list(reversed(objects.registry.links.values()))
    names = list(reversed(objects.registry.objects))
    paths = objects.pin_notes.paths()
    work: list[tuple[str, Callable[[], object]]] = [
        *((f"link {link.name}", partial(objects.links.remove, link)) for link in links),
        *((f"object {name}", partial(objects.unload, name)) for name in names),
        *((f"pin {path}", partial(pins.unpin, objects, path)) for path in paths),
    ]
    failures = []
    for what, remove in work:
        try:
            remove()
        except (BpfdError, OSError) as error:
            failures.append(f"{what}: {error}")
    print(f"removed {len(names)} objects, {len(links)} links, {len(paths)} pins of maps")
    return failures
