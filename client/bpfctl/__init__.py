# SPDX-License-Identifier: Apache-2.0
"""Load, attach and read BPF programs on a target, from a workstation.

import bpfctl

with bpfctl.connect("board") as target, target.session("my script") as session:
    loaded = target.load(elf, name="demo", session=session)
    loaded.attach("count", "xdp:eth0")
    for row in loaded.map("counters").rows():
        print(row)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfctl.target import Target

__all__ = ["connect"]


def connect(target: str | None = None, *, timeout: float = 10.0) -> Target:
    """Speak to a target: a named one, `local`, or an address ("unix:PATH", "ssh://HOST").

    None: `BPFCTL_TARGET`, else `local`. Raises NotFound for an unknown name,
    TargetUnreachable when nobody answers within `timeout` seconds, and ApiMismatch when
    something else than bpfd does.
    """
    from bpfctl.target import Target

    return Target.connect(target, timeout=timeout)
