# SPDX-License-Identifier: Apache-2.0
"""A daemon of this machine, through its unix socket."""

from __future__ import annotations

import os
import socket
import stat

from bpfctl.config import LocalTarget
from bpfctl.errors import InvalidArgument, TargetUnreachable
from bpfctl.transport import channel_options

_PATH_BYTES = 107
"""Room of sockaddr_un.sun_path without its final zero (unix(7))."""


class LocalConnection:
    """A channel to a unix socket."""

    def __init__(self, name: str, config: LocalTarget) -> None:
        import grpc

        self._name = name
        self._path = os.path.abspath(config.socket)
        if len(os.fsencode(self._path)) > _PATH_BYTES:
            raise InvalidArgument(
                f"target {name}",
                f"{self._path} is longer than the {_PATH_BYTES} bytes of a socket",
            )
        self.channel = grpc.insecure_channel(
            f"unix:{self._path}", options=channel_options(keepalive=False)
        )

    def explain(self, details: str) -> TargetUnreachable:
        return why_not(self._name, self._path, details)

    def close(self) -> None:
        self.channel.close()


def why_not(name: str, path: str, details: str) -> TargetUnreachable:
    """Why nobody answers at the unix socket `path`, found by trying."""
    start = (
        f"start the daemon with `bpfd serve --socket {path}`, or name another target with -t"
    )
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(2)
            probe.connect(path)
    except FileNotFoundError:
        return TargetUnreachable(
            name, f"there is no socket {path}: the daemon is not running", start
        )
    except PermissionError:
        return TargetUnreachable(name, f"{path} may not be opened by this user", _who_may(path))
    except ConnectionRefusedError:
        if not _is_socket(path):
            return TargetUnreachable(name, f"{path} is not a socket", start)
        return TargetUnreachable(
            name, f"nobody listens on {path}: the daemon has ended and left its socket", start
        )
    except TimeoutError:
        return TargetUnreachable(
            name, f"the daemon at {path} accepts no connection", "is it stopped?"
        )
    except OSError as error:
        return TargetUnreachable(name, f"{path}: {error.strerror}", start)
    return TargetUnreachable(name, f"the daemon at {path} broke the connection: {details}")


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _who_may(path: str) -> str:
    import grp

    try:
        status = os.stat(path)
    except OSError:
        return f"the folder {os.path.dirname(path)} is closed to it; run as root"
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    mode = stat.filemode(status.st_mode)
    if status.st_mode & stat.S_IWGRP and status.st_gid != 0:
        return (
            f"its mode is {mode}, group {group}: join that group (`usermod -aG {group} USER`)"
        )
    return (
        f"its mode is {mode}, group {group}: run as root, or let the daemon use another group"
    )
