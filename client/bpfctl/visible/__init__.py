# SPDX-License-Identifier: Apache-2.0
"""What runs on a machine, as rows and as texts: `bpfctl ps`, `net` and `cgroup tree`.

All of it is computed from one answer of `Links.ListAttachments` (`Target.machine`).
"""

from __future__ import annotations

from .machine import Machine

__all__ = ["Machine"]
