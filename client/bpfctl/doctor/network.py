# SPDX-License-Identifier: Apache-2.0
"""Which network interfaces run XDP programs in their driver."""

from __future__ import annotations

from collections.abc import Iterator

from bpfctl.doctor.check import Check
from bpfctl.doctor.drivers import NATIVE
from bpfctl.doctor.facts import Facts, Interface

GROUP = "network"

_GENERIC = "XDP runs behind the driver there (generic), at the speed of tc"


def checks(facts: Facts) -> Iterator[Check]:
    """Each interface with a device; how XDP runs on it, by its driver's name."""
    if not facts.has("program xdp"):
        return
    for interface in facts.interfaces:
        if interface.driver:
            yield _interface(interface)
    without = sum(not interface.driver for interface in facts.interfaces)
    if without:
        text = (
            f"{without} without a device (loopback, veth, bridges, ...): veth and tun run XDP "
            "natively, others generic"
        )
        yield Check(GROUP, "virtual interfaces", "ok", text)


def _interface(interface: Interface) -> Check:
    since = NATIVE.get(interface.driver)
    if since is not None:
        text = f"its driver {interface.driver} runs XDP programs, since Linux {since}"
        return Check(GROUP, interface.name, "ok", text)
    return Check(
        GROUP,
        interface.name,
        "warning",
        f"its driver {interface.driver} is not known to run XDP programs: {_GENERIC}",
        f"attach with xdp:{interface.name},mode=generic, or use tc",
    )
