# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces and a veth pair between them: the world and the target.

Nothing but what the run sends is on the wire: neighbours are fixed, so there is no ARP, and
the world has no IPv6 of its own that would chat; its IPv6 packets are sent whole.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from bpfd.kernel import netns

LINK = "192.0.2"
"""TEST-NET-1: the world is .1, the target .2."""
TARGET, TARGET6 = f"{LINK}.2", "2001:db8::2"
ALLOWED, ALLOWED6 = f"{LINK}.1", "2001:db8::1"
BLOCKED_PREFIX, BLOCKED_PREFIX6 = "198.51.100.0/24", "2001:db8:bad::/48"
BLOCKED, BLOCKED6 = "198.51.100.7", "2001:db8:bad::7"
WORLD_MAC, TARGET_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
INTERFACE = "eth0"
"""Name of both ends, each in its own namespace."""


class Network:
    """The two namespaces; `remove` takes them away whatever is in them."""

    def __init__(self) -> None:
        self.world = f"bpfd-demo-{os.getpid()}-world"
        self.target = f"bpfd-demo-{os.getpid()}-target"

    def make(self) -> None:
        for name in (self.world, self.target):
            _ip("netns", "add", name)
            _sysctl(name, "net.ipv6.conf.all.disable_ipv6", name == self.world)
            _sysctl(name, "net.ipv6.conf.default.disable_ipv6", name == self.world)
            _sysctl(name, "net.ipv6.conf.default.accept_dad", False)
            _sysctl(name, "net.ipv6.conf.default.accept_ra", False)
            _sysctl(name, "net.ipv4.conf.all.rp_filter", False)
            _sysctl(name, "net.ipv4.conf.default.rp_filter", False)
        peer = ("peer", "name", INTERFACE, "address", TARGET_MAC, "netns", self.target)
        world = ("netns", self.world, "name", INTERFACE, "address", WORLD_MAC)
        _ip("link", "add", *world, "type", "veth", *peer)
        self._address(self.world, f"{ALLOWED}/24", f"{BLOCKED}/32")
        self._address(self.target, f"{TARGET}/24", f"{TARGET6}/64")
        for name in (self.world, self.target):
            for interface in ("lo", INTERFACE):
                _ip("-n", name, "link", "set", interface, "up")
        self._neighbour(self.world, TARGET, TARGET_MAC)
        self._neighbour(self.target, ALLOWED, WORLD_MAC)

    def path(self, name: str) -> str:
        """File of a namespace."""
        return f"/run/netns/{name}"

    def inode(self, name: str) -> int:
        return os.stat(self.path(name)).st_ino

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Sockets that are made in the block belong to the namespace."""
        with netns.entered(self.path(name)):
            yield

    def target_index(self) -> int:
        """Index of the target's interface."""
        with self.inside(self.target):
            return socket.if_nametoindex(INTERFACE)

    def remove(self) -> None:
        for name in (self.world, self.target):
            if os.path.exists(self.path(name)):
                with contextlib.suppress(subprocess.CalledProcessError):
                    _ip("netns", "delete", name)

    def left(self) -> list[str]:
        """Namespaces of this run that are there."""
        return [name for name in netns.names() if name in (self.world, self.target)]

    def _address(self, name: str, *addresses: str) -> None:
        for address in addresses:
            words = ("address", "add", address, "dev", INTERFACE)
            _ip("-n", name, *words, *(("nodad",) if ":" in address else ()))

    def _neighbour(self, name: str, address: str, mac: str) -> None:
        words = ("lladdr", mac, "dev", INTERFACE, "nud", "permanent")
        _ip("-n", name, "neighbour", "replace", address, *words)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _sysctl(name: str, key: str, value: bool) -> None:
    path = f"/proc/sys/{key.replace('.', '/')}"
    with netns.entered(f"/run/netns/{name}"), open(path, "w") as file:
        file.write(str(int(value)))
