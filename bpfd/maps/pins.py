# SPDX-License-Identifier: Apache-2.0
"""Pins of maps under paths of the caller's choice."""

from __future__ import annotations

import os

from bpfd.errors import InvalidArgument, KernelError, NotFound
from bpfd.kernel import bpffs
from bpfd.kernel.info import fdinfo
from bpfd.kernel.mounts import mounts
from bpfd.kernel.syscall import obj_get
from bpfd.objects.objects import Objects
from bpfd.v1 import common_pb2

_OWN = "/bpfd/"
"""In the path of pins that belong to objects of a daemon, this one or another."""


def pin(objects: Objects, ref: common_pb2.MapRef, path: str) -> None:
    """Raises InvalidArgument, NotFound or KernelError."""
    _check(path)
    with objects.map_fd(ref) as fd:
        try:
            bpffs.pin(fd, path)
        except FileExistsError:
            raise InvalidArgument("path", f"{path} is taken; unpin it first") from None
        except FileNotFoundError:
            raise NotFound("folder", os.path.dirname(path)) from None
        except OSError as error:
            raise KernelError(f"pinning under {path}", error.errno or 0) from None
    objects.pin_notes.add(path)


def unpin(objects: Objects, path: str) -> None:
    """Raises InvalidArgument, NotFound or KernelError."""
    _check(path)
    try:
        fd = obj_get(path)
    except FileNotFoundError:
        objects.pin_notes.remove(path)
        raise NotFound("pin", path) from None
    except OSError:
        raise InvalidArgument("path", f"{path} is not a pinned map") from None
    try:
        if "map_id" not in fdinfo(fd):
            raise InvalidArgument("path", f"{path} is a pin, but not of a map")
    finally:
        os.close(fd)
    try:
        bpffs.remove(path)
    except OSError as error:
        raise KernelError(f"removing {path}", error.errno or 0) from None
    objects.pin_notes.remove(path)


def _check(path: str) -> None:
    if not path.startswith("/") or os.path.normpath(path) != path:
        raise InvalidArgument("path", f"{path!r} is not a plain absolute path")
    tops = [each.path for each in mounts() if each.type == "bpf"]
    top = next((each for each in tops if path.startswith(f"{each}/")), None)
    if top is None:
        where = ", ".join(tops) or "nowhere"
        raise InvalidArgument("path", f"{path} is not in a bpffs (mounted: {where})")
    if _OWN in path[len(top) :]:
        raise InvalidArgument("path", f"folders named {_OWN} are kept for daemons' own pins")
