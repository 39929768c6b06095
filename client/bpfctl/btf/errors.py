# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with BTF and with the values it describes."""

from __future__ import annotations


class BtfError(ValueError):
    """BTF that is damaged, cut short, or refers to what is not there."""


class BtfValueError(ValueError):
    """A value that its type does not take, or bytes that are not a value of the type.

    `field` is the path inside the key or value (`addr.port`, `slots[3]`), empty for the
    whole; `why` says what was given, what the type takes, and what to write instead.
    """

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}" if field else why)
        self.field = field
        self.why = why

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.field, self.why))
