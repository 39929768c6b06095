# SPDX-License-Identifier: Apache-2.0
"""What a target can do, what is missing, why, and what helps.

`gather` reads facts through the daemon; the rules, a file for each group, are pure.
"""

from __future__ import annotations

from bpfctl.doctor import (
    daemon,
    features,
    jit,
    kernel,
    mounts,
    network,
    privileges,
    resources,
    sysctls,
)
from bpfctl.doctor.check import Check, usable
from bpfctl.doctor.facts import Facts

__all__ = ["Check", "Facts", "diagnose", "usable"]

_GROUPS = (daemon, kernel, jit, sysctls, mounts, privileges, resources, features, network)


def diagnose(facts: Facts) -> list[Check]:
    """Every check, group by group."""
    return [check for group in _GROUPS for check in group.checks(facts)]
