# SPDX-License-Identifier: Apache-2.0
"""The kernel, its types, and its configuration."""

from __future__ import annotations

from collections.abc import Iterator

from bpfctl.doctor.check import Check
from bpfctl.doctor.facts import Facts

GROUP = "kernel"

_ADDRESSES = "addresses of the kernel's functions"


def checks(facts: Facts) -> Iterator[Check]:
    """Release, BTF, configuration, symbols."""
    info = facts.info
    bits = f"{info.pointer_bits} bit, {'big' if info.big_endian else 'little'} endian"
    yield Check(GROUP, "release", "ok", f"Linux {info.kernel_release}, {info.machine} ({bits})")
    yield _btf(facts)
    if facts.config:
        text = f"{len(facts.options)} options are set, by {facts.config_from}"
        yield Check(GROUP, "configuration", "ok", text)
    else:
        yield Check(
            GROUP,
            "configuration",
            "warning",
            "it cannot be read, so options below are what is usually missing, not what is",
            "`modprobe configs` there if the kernel has CONFIG_IKCONFIG=m, or put the file at "
            f"/boot/config-{info.kernel_release}",
        )
    yield _symbols(facts)


def _btf(facts: Facts) -> Check:
    info = facts.info
    if info.btf_sha256:
        return Check(GROUP, "BTF", "ok", f"/sys/kernel/btf/vmlinux, {info.btf_size} bytes")
    lost = (
        "CO-RE works by that; fentry, tp_btf, LSM, iterators and struct_ops need it in the "
        "kernel and do not"
    )
    if facts.btf_kept:
        text = f"the kernel has none; this workstation keeps it ({facts.btf_kept}): {lost}"
        return Check(GROUP, "BTF", "warning", text, "a kernel with CONFIG_DEBUG_INFO_BTF=y")
    return Check(
        GROUP,
        "BTF",
        "missing",
        "the kernel has none: vmlinux.h cannot be made, and CO-RE does not work",
        f"`bpfctl btf fetch -t {facts.target}` (kernels of Debian), or `bpfctl btf add IMAGE "
        f"--for {facts.target}`; or a kernel with CONFIG_DEBUG_INFO_BTF=y",
    )


def _symbols(facts: Facts) -> Check:
    restrict = facts.number("/proc/sys/kernel/kptr_restrict")
    if restrict is None:
        return Check(GROUP, "symbols", "ok", f"{_ADDRESSES}: kptr_restrict is not known")
    if restrict >= 2:
        return Check(
            GROUP,
            "symbols",
            "warning",
            f"{_ADDRESSES} are hidden from everybody (kptr_restrict {restrict}): kernel stacks "
            "stay numbers",
            "sysctl -w kernel.kptr_restrict=1",
        )
    return Check(
        GROUP, "symbols", "ok", f"{_ADDRESSES} are readable (kptr_restrict {restrict})"
    )
