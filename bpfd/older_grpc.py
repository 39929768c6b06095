# SPDX-License-Identifier: Apache-2.0
"""gRPC from before the generated stubs' time.

riscv64 has no wheel of gRPC, but Debian has version 1.51 for it. The stubs, and those of
health and reflection, want two things that it lacks: `first_version_is_lower` to compare its
version with theirs, and `add_registered_method_handlers`, by which newer versions find
handlers without asking each service. `add_generic_rpc_handlers`, which the stubs call as well,
is all that is needed.
"""

from __future__ import annotations

from typing import Any


def accept() -> None:
    """Lets stubs that are imported from now on take the gRPC that there is."""
    from grpc import _utilities
    from grpc.aio import _server

    for owner, name, stand_in in (
        (_utilities, "first_version_is_lower", _is_never_lower),
        (_server.Server, "add_registered_method_handlers", _add_nothing),
    ):
        if not hasattr(owner, name):
            setattr(owner, name, stand_in)


def _is_never_lower(version: str, other: str) -> bool:
    return False


def _add_nothing(server: Any, service: str, handlers: Any) -> None:
    """`add_generic_rpc_handlers` adds them."""
