# SPDX-License-Identifier: Apache-2.0
"""The facts of a target, read through its daemon; nothing there is changed."""

from __future__ import annotations

import gzip
import time
from typing import TYPE_CHECKING

from bpfctl import errors
from bpfctl.doctor.facts import FILES, Facts, Interface

if TYPE_CHECKING:
    from bpfctl.target import Target
    from bpfd.v1 import files_pb2, target_pb2

_CONFIGURATIONS = (
    "/proc/config.gz",
    "/boot/config-{0}",
    "/lib/modules/{0}/config",
)
_LOOPBACK = "772"
"""ARPHRD_LOOPBACK of linux/if_arp.h."""
_MAX_BYTES = 1 << 20
_MAX_INTERFACES = 256

_UNREADABLE = (
    errors.NotFound,
    errors.PermissionMissing,
    errors.InvalidArgument,
    errors.KernelError,
    errors.NotSupported,
)


def gather(target: Target) -> Facts:
    """All facts. Raises what ends the connection."""
    info = target.info(features=True)
    files: dict[str, str] = {}
    unread: dict[str, str] = {}
    for path in (*FILES, f"/proc/{info.daemon_pid}/limits", f"/proc/{info.daemon_pid}/status"):
        try:
            files[path] = _read(target, path).decode(errors="replace").rstrip()
        except errors.NotFound:
            continue
        except _UNREADABLE as error:
            unread[path] = str(error)
    config, config_from = _config(target, info.kernel_release)
    return Facts(
        target=target.name,
        info=info,
        client_version=client_version(),
        now=time.time(),
        files=files,
        unread=unread,
        config=config,
        config_from=config_from,
        interfaces=_interfaces(target),
        storage=_storage(target),
        btf_kept=_btf_kept(info),
    )


def client_version() -> str:
    """Version of this bpfctl."""
    from importlib.metadata import version

    return version("bpfd")


def _read(target: Target, path: str) -> bytes:
    return target.files.read(path, size=_MAX_BYTES)


def _config(target: Target, release: str) -> tuple[str, str]:
    for pattern in _CONFIGURATIONS:
        path = pattern.format(release)
        try:
            data = _read(target, path)
            if path.endswith(".gz"):
                data = gzip.decompress(data)
        except (*_UNREADABLE, OSError, EOFError):
            continue
        return data.decode(errors="replace"), path
    return "", ""


def _interfaces(target: Target) -> tuple[Interface, ...]:
    try:
        names = [entry.path.rpartition("/")[2] for entry in target.files.list("/sys/class/net")]
    except _UNREADABLE:
        return ()
    found = []
    for name in names[:_MAX_INTERFACES]:
        driver = _driver(target, name)
        found.append(Interface(name, driver, "" if driver else _kind(target, name)))
    return tuple(found)


def _driver(target: Target, interface: str) -> str:
    path = f"/sys/class/net/{interface}/device/driver"
    try:
        return target.files.stat(path, follow=False).link_target.rpartition("/")[2]
    except _UNREADABLE:
        return ""


def _kind(target: Target, interface: str) -> str:
    """What an interface without a device is, by the files that it has in sysfs."""

    def read(name: str) -> str:
        try:
            return _read(target, f"/sys/class/net/{interface}/{name}").decode().strip()
        except _UNREADABLE:
            return ""

    if read("type") == _LOOPBACK:
        return "loopback"
    if read("tun_flags"):
        return "tun"
    for line in read("uevent").splitlines():
        if line.startswith("DEVTYPE="):
            return line.removeprefix("DEVTYPE=")
    # Each end of a pair names the other one, and has no type of its own.
    return "veth" if read("iflink") != read("ifindex") else ""


def _storage(target: Target) -> files_pb2.StorageResponse | None:
    from bpfd.v1 import files_pb2

    request = files_pb2.StorageRequest()
    try:
        return target.rpc.call(target.rpc.files.Storage, request, "Files.Storage")
    except _UNREADABLE:
        return None


def _btf_kept(info: target_pb2.TargetInfo) -> str:
    if info.btf_sha256:
        return ""
    from bpfctl.kernelbtf import shipping

    kept = shipping.known(info)
    return kept.name if kept else ""
