# SPDX-License-Identifier: Apache-2.0
"""What an older gRPC lacks is added, and what a newer one has stays."""

from __future__ import annotations

import grpc
import pytest
from grpc import _utilities
from grpc.aio import _server

from bpfd import older_grpc


def test_what_is_there_stays() -> None:
    compare = _utilities.first_version_is_lower
    add = _server.Server.add_registered_method_handlers
    older_grpc.accept()
    assert _utilities.first_version_is_lower is compare
    assert _server.Server.add_registered_method_handlers is add


async def test_what_is_missing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    # setattr first, so that the originals are put back whatever `accept` adds.
    for owner, name in (
        (_utilities, "first_version_is_lower"),
        (_server.Server, "add_registered_method_handlers"),
    ):
        monkeypatch.setattr(owner, name, None)
        delattr(owner, name)
    older_grpc.accept()
    assert not _utilities.first_version_is_lower("1.51.1", "1.85.1")
    server = grpc.aio.server()
    server.add_registered_method_handlers("bpfd.v1.Objects", {})
    await server.stop(None)
