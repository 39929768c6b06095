# SPDX-License-Identifier: Apache-2.0
"""What of a target matters to the compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfctl.build import TargetFacts
    from bpfctl.target import Target


def facts_of(target: Target) -> TargetFacts:
    """The facts that `bpfctl.build.build` wants of a target."""
    from bpfctl.build import TargetFacts

    info = target.info()
    return TargetFacts(
        machine=info.machine,
        big_endian=info.big_endian,
        pointer_bits=info.pointer_bits,
        btf_sha256=target.btf.kernel_sha256(),
        kernel_release=info.kernel_release,
        kernel_has_btf=bool(info.btf_sha256),
        target=target.name,
    )
