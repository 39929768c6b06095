# SPDX-License-Identifier: Apache-2.0
"""Conditions on records: `dport == 443 and comm == "curl"`.

A condition is compiled once, against the type of the records, and evaluated on whole numpy
arrays before a row is made of any of them:

* fields by name, of structs `a.b`, of arrays `a[0]`;
* numbers (`0x1f`, `1.5`), text in quotes, `true`, `false`, names of a field's enum;
* times with a unit: `latency > 10ms`, in the unit that the field's name ends with (`_us`,
  `_ms`, `_s`), else in nanoseconds;
* addresses and networks as they are: `saddr == 10.0.0.0/8`, `daddr in (::1, 2001:db8::/32)`;
* `== != < <= > >=`, `in`, `not in`, `and or not` (`&& || !`), parentheses;
* `+ - * / // %` and `& | ^ ~ << >>` of numbers;
* `443 in ports` for an array, `"ssl" in path` for a part of a text.

Python's own parser reads it; what is not in this list is refused, and nothing is executed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.where.condition import compiled
from bpfctl.where.lexer import MAX_CHARACTERS

if TYPE_CHECKING:
    from bpfctl.btf.codec import Codec
    from bpfctl.btf.columns import Array
    from bpfctl.where.compare import Test

__all__ = ["MAX_CHARACTERS", "Where"]


class Where:
    """A condition on records of one type. Has no state: use it from any thread."""

    def __init__(self, text: str, codec: Codec) -> None:
        """Raises InvalidArgument, with the field names there are, for what does not fit."""
        self.text = text
        self._test: Test = compiled(text, codec)

    def __repr__(self) -> str:
        return f"<Where {self.text!r}>"

    def mask(self, array: Array) -> Array:
        """Which items of an array of C layout (`bpfctl.btf.array`) fulfil it, as booleans."""
        import numpy as np

        with np.errstate(all="ignore"):
            found = self._test(array)
        return np.broadcast_to(np.asarray(found, bool), (len(array),))

    def select(self, array: Array) -> Array:
        """The items that fulfil it; the array itself when all do."""
        mask = self.mask(array)
        if mask.all():
            return array
        # As bytes: members of unions lie over each other.
        return array.view(f"V{array.itemsize}")[mask].view(array.dtype)
