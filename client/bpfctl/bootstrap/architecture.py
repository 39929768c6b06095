# SPDX-License-Identifier: Apache-2.0
"""From what a machine calls itself to the architecture of its bundle, in Debian's words."""

from __future__ import annotations

from bpfctl.errors import NotSupported

ARCHITECTURES = ("amd64", "arm64", "armhf", "riscv64")
"""Bundles exist for these."""

_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    # A 64-bit CPU under a 32-bit personality (arch_compat_uname of the arm64 kernel).
    "armv8l": "armhf",
    "armv7l": "armhf",
    "riscv64": "riscv64",
}

_ARMHF_FEATURES = ("vfpv4", "neon")
"""Words of /proc/cpuinfo: the bundle's gRPC is built for VFPv4 with NEON (Cortex-A5 and A7
and later, not A8 and A9). On a 64-bit kernel they are named as in ARMv8."""

_WHY_NOT = {
    "armv6": "bundles for 32-bit ARM need ARMv7 with hardware floating point",
    "armv5": "bundles for 32-bit ARM need ARMv7 with hardware floating point",
    "armv4": "bundles for 32-bit ARM need ARMv7 with hardware floating point",
    "armv7b": "there is no bundle for big-endian machines",
    "armv8b": "there is no bundle for big-endian machines",
    "aarch64_be": "there is no bundle for big-endian machines",
    "i386": "there is no bundle for 32-bit x86",
    "i486": "there is no bundle for 32-bit x86",
    "i586": "there is no bundle for 32-bit x86",
    "i686": "there is no bundle for 32-bit x86",
}


def debian_architecture(machine: str, features: frozenset[str]) -> str:
    """The architecture of `uname -m` and the CPU features of /proc/cpuinfo.

    Raises NotSupported, with the reason, for machines that no bundle exists for.
    """
    found = _MACHINES.get(machine)
    if found is None:
        why = next((why for start, why in _WHY_NOT.items() if machine.startswith(start)), "")
        why = why or f"bundles exist for {', '.join(ARCHITECTURES)}"
        raise NotSupported(
            f"a daemon of ours: it is {machine or 'of an unknown kind'}", "", why
        )
    missing = [word for word in _ARMHF_FEATURES if word not in features]
    if machine == "armv7l" and features and missing:
        raise NotSupported(
            f"a daemon of ours: its CPU has no {' and no '.join(missing)}",
            "",
            "the bundle for 32-bit ARM needs both (Cortex-A5, A7, A15 and later)",
        )
    return found
