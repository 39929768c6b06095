# SPDX-License-Identifier: Apache-2.0
"""What a device of the Android debug bridge offers, whatever the way to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass
class AdbError(Exception):
    """There is no way to a device, or it broke."""

    why: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.why}; {self.hint}" if self.hint else self.why


class ServiceRefused(ConnectionRefusedError):
    """The device is there, and does not open the service that was asked for."""


class Stream(Protocol):
    """A service of a device that was opened; bytes in both directions, no half can be closed.

    Two threads may use it, one for each direction.
    """

    def recv(self, size: int) -> bytes:
        """At most `size` bytes, nothing at the end; TimeoutError, OSError."""
        ...

    def sendall(self, data: bytes) -> None:
        """Raises TimeoutError, OSError."""
        ...

    def settimeout(self, seconds: float | None) -> None:
        """How long `recv` and `sendall` wait; None: for ever."""
        ...

    def close(self) -> None:
        """End the service; wakes who waits in `recv`. A second call does nothing."""
        ...


class Device(Protocol):
    """A device whose services can be opened."""

    serial: str

    def open(self, service: str, timeout: float) -> Stream:
        """Open a service such as "exec:id" (adb's SERVICES.TXT).

        Raises ServiceRefused, AdbError, TimeoutError.
        """
        ...

    def has_shell_v2(self, timeout: float) -> bool:
        """Whether its shell keeps outputs apart and gives exit codes (Android 7 and later)."""
        ...

    def trouble(self) -> AdbError | None:
        """What is wrong with the way to the device by now; None: nothing that is known."""
        ...

    def close(self) -> None:
        """Give back everything; a second call does nothing."""
        ...
