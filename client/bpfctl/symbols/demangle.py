# SPDX-License-Identifier: Apache-2.0
"""Names of C++ and Rust as people write them."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1 << 16)
def demangle(name: str) -> str:
    """The name as the source has it; one that is not mangled stays as it is.

    Rust's hash at the end of the older mangling goes; a suffix of the compiler as
    `.constprop.0` stays.
    """
    if not name.startswith(("_Z", "_R", "__Z", "__R")):
        return name
    import pydemumble

    return str(pydemumble.demangle(name)) or name
