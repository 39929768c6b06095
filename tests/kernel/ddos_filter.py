# SPDX-License-Identifier: Apache-2.0
"""Package ddos in the kernel, for its tests: the verdict on a packet and what it counts."""

from __future__ import annotations

from contextlib import ExitStack, closing

from tests.kernel import packets as p
from tests.kernel.loaded_package import LoadedPackage, SpareInterfaces

DROP, PASS = 1, 2
LISTS = ("block_v4", "block_v6", "allow_v4", "allow_v6", "ports")
DROP_NAMES = ("BLOCKED", "MALFORMED")

UDP4 = p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1000, 53, b"question")))
TCP4 = p.ethernet(p.IPV4, p.ipv4(p.TCP, p.tcp(1000, 80)))
UDP6 = p.ethernet(p.IPV6, p.ipv6(p.UDP, p.udp(1000, 53, b"question")))
TCP6 = p.ethernet(p.IPV6, p.ipv6(p.TCP, p.tcp(1000, 80)))


class Filter:
    """The package, and what one packet does to its counters."""

    def __init__(self, package: LoadedPackage) -> None:
        self.package = package

    def judge(self, packet: bytes) -> tuple[int, str]:
        """The verdict, and the one reason under which the packet was counted."""
        return self.judge_all([packet])

    def judge_all(self, packets: list[bytes]) -> tuple[int, str]:
        """The verdict on each of them, and the one reason under which all were counted."""
        before = self.package.counters()
        verdicts = [self.package.run("ddos", packet) for packet in packets]
        added = {}
        for name, (count, size) in self.package.counters().items():
            old = before.get(name, (0, 0))
            if (count, size) != old:
                added[name] = (count - old[0], size - old[1])
        assert verdicts == verdicts[:1] * len(packets)
        assert list(added.values()) == [(len(packets), sum(map(len, packets)))], added
        return verdicts[0], next(iter(added))

    def expect(self, packet: bytes, reason: str) -> None:
        """The packet is counted under `reason` and judged as its name says."""
        verdict = DROP if reason.startswith(DROP_NAMES) else PASS
        assert self.judge(packet) == (verdict, reason)


class Filters:
    """Loads filters and unloads them all at the end; a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._interfaces = self._stack.enter_context(closing(SpareInterfaces()))

    def load(
        self, variant: str | None = None, share: Filter | None = None, **settings: str
    ) -> Filter:
        """The package with these settings; `share`: over the maps of that one."""
        take_over = share.package if share else None
        package = LoadedPackage("ddos", settings, variant=variant, take_over=take_over)
        self._stack.callback(package.close)
        self._interfaces.attach(package.program_fd("ddos"))
        return Filter(package)

    def __enter__(self) -> Filters:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
