# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.bootstrap.architecture import debian_architecture
from bpfctl.errors import NotSupported

A8 = frozenset(["half", "thumb", "fastmult", "vfp", "edsp", "neon", "vfpv3", "tls", "vfpd32"])
A7 = A8 | {"vfpv4", "idiva", "idivt", "lpae"}
V8 = frozenset(["fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "cpuid"])


@pytest.mark.parametrize(
    ("machine", "features", "expected"),
    [
        ("x86_64", frozenset(), "amd64"),
        ("aarch64", V8, "arm64"),
        ("armv7l", A7, "armhf"),
        ("armv7l", frozenset(), "armhf"),
        ("armv8l", V8, "armhf"),
        ("riscv64", frozenset(), "riscv64"),
    ],
)
def test_machines_with_a_bundle(machine: str, features: frozenset[str], expected: str) -> None:
    assert debian_architecture(machine, features) == expected


@pytest.mark.parametrize(
    ("machine", "says"),
    [
        ("armv6l", "ARMv7 with hardware floating point"),
        ("armv5tejl", "ARMv7 with hardware floating point"),
        ("armv7b", "big-endian"),
        ("aarch64_be", "big-endian"),
        ("i686", "32-bit x86"),
        ("mips", "bundles exist for amd64, arm64, armhf, riscv64"),
        ("mips64", "bundles exist for"),
        ("ppc64le", "bundles exist for"),
        ("s390x", "bundles exist for"),
        ("riscv32", "bundles exist for"),
        ("", "of an unknown kind"),
    ],
)
def test_machines_without(machine: str, says: str) -> None:
    with pytest.raises(NotSupported, match=says):
        debian_architecture(machine, frozenset())


def test_an_arm_without_the_floating_point_that_is_needed() -> None:
    with pytest.raises(NotSupported, match=r"its CPU has no vfpv4.*Cortex-A5"):
        debian_architecture("armv7l", A8)
    with pytest.raises(NotSupported, match="no vfpv4 and no neon"):
        debian_architecture("armv7l", A8 - {"neon"})
