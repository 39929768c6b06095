# SPDX-License-Identifier: Apache-2.0
"""Where the page of metrics may go. Imports nothing of the daemon: it is read before a fork."""

from __future__ import annotations

import ipaddress


def parse(text: str) -> tuple[str, int]:
    """HOST:PORT, as (host, port); port 0: one that is free. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    try:
        host = str(ipaddress.ip_address("127.0.0.1" if host == "localhost" else host))
        number = int(port)
    except ValueError:
        number = -1
    if not colon or not 0 <= number <= 65535:
        raise ValueError(f"{text!r} is not ADDRESS:PORT, as 127.0.0.1:9435 or [::1]:9435")
    return host, number


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    return ipaddress.ip_address(host).is_loopback
