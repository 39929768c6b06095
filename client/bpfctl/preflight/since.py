# SPDX-License-Identifier: Apache-2.0
"""First kernels of helpers, flags of maps, attach types; for people, decisions are by probe.

`since.json` is written by `scripts/kernel-since`, which says where it is from.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any


@functools.cache
def _data() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("since.json").read_text()
    data: dict[str, Any] = json.loads(text)
    return data


def helper_name(number: int) -> str:
    """Name of a helper without "bpf_"; empty: newer than the table."""
    return str(_data()["helpers"].get(str(number), ("", ""))[0])


def helper_since(number: int) -> str:
    """First kernel with a helper; empty: unknown."""
    return str(_data()["helpers"].get(str(number), ("", ""))[1])


def map_flag_names(flags: int) -> list[str]:
    """Flags of BPF_MAP_CREATE by name; those newer than the table as a number."""
    known = {1 << int(bit): name for bit, (name, _) in _data()["map_flags"].items()}
    names = [f"BPF_F_{name}" for bit, name in known.items() if flags & bit]
    rest = flags & ~sum(known)
    return names + ([hex(rest)] if rest else [])


def map_flags_since(flags: int) -> str:
    """When the last of these flags came, as far as it is known; empty: unknown."""
    found = [since for bit, (_, since) in _data()["map_flags"].items() if flags >> int(bit) & 1]
    return str(found[-1]) if found else ""


def attach_type_since(number: int) -> str:
    """When an attach type came, as far as it is known; empty: unknown."""
    return str(_data()["attach_types"].get(str(number), ("", ""))[1])
