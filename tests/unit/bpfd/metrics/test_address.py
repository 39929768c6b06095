# SPDX-License-Identifier: Apache-2.0
"""Where the page of metrics may go."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bpfd.metrics import address


@pytest.mark.parametrize(
    ("text", "parsed", "loopback"),
    [
        ("127.0.0.1:9435", ("127.0.0.1", 9435), True),
        ("127.9.9.9:0", ("127.9.9.9", 0), True),
        ("localhost:1", ("127.0.0.1", 1), True),
        ("[::1]:9435", ("::1", 9435), True),
        ("0.0.0.0:9435", ("0.0.0.0", 9435), False),
        ("[::]:9435", ("::", 9435), False),
        ("10.0.0.1:80", ("10.0.0.1", 80), False),
    ],
)
def test_addresses(text: str, parsed: tuple[str, int], loopback: bool) -> None:
    assert address.parse(text) == parsed
    assert address.is_loopback(parsed[0]) is loopback


@pytest.mark.parametrize("text", ["9435", ":9435", "host:1", "127.0.0.1:x", "127.0.0.1:65536"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not ADDRESS:PORT"):
        address.parse(text)


def test_reading_it_starts_nothing() -> None:
    """A daemon may still have to fork then, which gRPC does not survive."""
    code = "import sys; import bpfd.metrics.address; assert 'grpc' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
