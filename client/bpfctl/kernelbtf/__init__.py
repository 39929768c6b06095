# SPDX-License-Identifier: Apache-2.0
"""BTF for kernels that carry none: where it comes from, where it is kept, what is shipped.

A target whose kernel was built without CONFIG_DEBUG_INFO_BTF gets its types from the
workstation: out of a kernel image, debug info or a published archive, kept by kernel build.
With an object only what that object needs of them is sent.
"""

from __future__ import annotations

from .errors import KernelBtfError
from .identity import KernelBuild
from .store import Entry, Store

__all__ = ["Entry", "KernelBtfError", "KernelBuild", "Store"]
