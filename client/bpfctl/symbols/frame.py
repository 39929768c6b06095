# SPDX-License-Identifier: Apache-2.0
"""One function of a stack."""

from __future__ import annotations

from dataclasses import dataclass

KERNEL = "[kernel]"
JIT = "[jit]"
ANONYMOUS = "[anonymous]"
UNKNOWN = "[unknown]"


@dataclass(frozen=True, slots=True)
class Frame:
    """One function at one address; inlined callees are frames of their own."""

    name: str
    """Demangled; empty: not known, `text` shows where the address is."""
    module: str = ""
    """"[kernel]", "[MODULE]", path of the binary, "[jit]", "[vdso]", "[anonymous]",
    "[unknown]" where nothing is mapped."""
    file: str = ""
    line: int = 0
    """0: not known."""
    address: int = 0
    """As sampled."""
    inlined: bool = False
    """It stands in the next frame's function."""
    kind: str = "user"
    """"kernel" or "user"."""
    offset: int = 0
    """Bytes from the beginning of the function; of the file where there is no name (of the
    mapping where there is no file)."""

    @property
    def text(self) -> str:
        """The name; MODULE+0xOFFSET where there is none."""
        if self.name:
            return self.name
        if self.module in ("", UNKNOWN):
            return f"{self.address:#x}"
        return f"{self.module.rpartition('/')[2]}+{self.offset:#x}"

    @property
    def place(self) -> str:
        """FILE:LINE; empty: not known."""
        if not self.file:
            return ""
        return f"{self.file}:{self.line}" if self.line else self.file
