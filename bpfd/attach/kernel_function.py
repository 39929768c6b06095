# SPDX-License-Identifier: Apache-2.0
"""What the hooks on functions of the kernel share: their names, and what is near."""

from __future__ import annotations

import contextlib

from bpfd import errors
from bpfd.attach.failure import near
from bpfd.kernel import kernel_symbols


def check_name(name: str, field: str) -> None:
    """Raises InvalidArgument for what no function can be called."""
    if not name or "\0" in name or any(char.isspace() for char in name):
        raise errors.InvalidArgument(field, f"{name!r} is not a name")


def missing(name: str) -> errors.NotFound:
    """The error for a function that the kernel does not have, or has inlined."""
    names: list[str] = []
    with contextlib.suppress(errors.BpfdError, OSError):
        names = [each for each, _ in kernel_symbols.functions("")]
    variants = [each for each in names if each.startswith(f"{name}.")]
    if variants:
        hint = "the compiler has made variants of it"
    elif names:
        hint = f"inlined, or in a module that is not loaded; {len(names)} functions are there"
    else:
        hint = "the kernel does not show its functions"
    return errors.NotFound("kernel function", name, variants[:3] or near(name, names), hint)
