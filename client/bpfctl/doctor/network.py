# SPDX-License-Identifier: Apache-2.0
"""Which network interfaces run XDP programs in their driver."""

from __future__ import annotations

from collections.abc import Iterator

from bpfctl.doctor.check import Check
from bpfctl.doctor.drivers import NATIVE, VIRTUAL
from bpfctl.doctor.facts import Facts, Interface

GROUP = "network"

_SHOWN = 5
"""Names of a kind; a machine with containers has hundreds."""

_GENERIC = "XDP runs behind the driver there (generic), at the speed of tc"


def checks(facts: Facts) -> Iterator[Check]:
    """Each interface with a device by its driver's name, the others by their kind."""
    if not facts.has("program xdp"):
        return
    for interface in facts.interfaces:
        if interface.driver:
            yield _interface(interface)
    virtual: dict[str, list[str]] = {}
    for interface in facts.interfaces:
        if not interface.driver:
            virtual.setdefault(interface.kind or "of another kind", []).append(interface.name)
    for kind, names in virtual.items():
        yield _virtual(kind, names)


def _virtual(kind: str, names: list[str]) -> Check:
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    if since := VIRTUAL.get(kind):
        text = f"{shown}: XDP runs natively, since Linux {since}"
    else:
        text = f"{shown}: XDP runs generic, at the speed of tc"
    return Check(GROUP, kind, "ok", text)


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
