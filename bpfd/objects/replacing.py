# SPDX-License-Identifier: Apache-2.0
"""What the next version of an object takes over from the one before."""

from __future__ import annotations

from bpfd.kernel.constants import MapType
from bpfd.kernel.info import map_info
from bpfd.kernel.load_options import Loaded, MapSetting


def maps_left_behind(old: Loaded, new: Loaded) -> list[str]:
    """What becomes of maps that are not taken over, in words."""
    lines = []
    for name, item in old.maps.items():
        there = new.maps.get(name)
        if name.startswith(".") or item.type == MapType.STRUCT_OPS:
            continue  # variables and struct_ops belong to their version
        if there is None:
            lines.append(f"map {name} is gone: the new version does not declare it")
        elif there.id != item.id:
            lines.append(f"map {name} starts empty: it has another size or other flags now")
    return lines


def keeps(setting: MapSetting, fd: int) -> bool:
    """Whether a map may be taken over: nobody asked for another size or other flags."""
    info = map_info(fd)
    if info.type == MapType.STRUCT_OPS:
        return False  # it is made of the version's own programs
    return (
        setting.max_entries in (None, info.max_entries)
        and setting.value_size in (None, info.value_size)
        and setting.map_flags in (None, info.map_flags)
    )
