# SPDX-License-Identifier: Apache-2.0
"""Kernel addresses of a target."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bpfctl.config import cache_dir
from bpfctl.errors import BpfctlError
from bpfctl.symbols.elf import Level, symbol_address
from bpfctl.symbols.kallsyms import Kallsyms

if TYPE_CHECKING:
    from bpfctl.symbols.store import Store
    from bpfctl.symbols.symcaches import Symbols, Symcaches
    from bpfctl.target import Target

_KEEP_BOOTS = 16

_ANCHOR = "_stext"
"""Begins the kernel's functions on every architecture (include/asm-generic/sections.h)."""


def fetch(target: Target) -> Kallsyms:
    """Symbols of the kernel, as it is now.

    Those of the kernel itself are kept by boot id: they stay for as long as the machine is
    up. Modules and BPF programs come and go and are asked for each time.
    """
    boot = target.info().boot_id
    folder = cache_dir() / "symbols" / "kallsyms"
    path = folder / boot
    if boot:
        try:
            kept = path.read_bytes()
        except OSError:
            kept = b""
        if kept:
            return Kallsyms((kept, *_modules(target)))
    text = b"".join(_chunks(target))
    found = Kallsyms((text,))
    # Where addresses are hidden now they may be shown in a minute.
    if boot and len(found):
        _keep(folder, path, _of_kernel(text))
    return found


def hidden_why(target: Target, found: Kallsyms) -> str:
    """Why kernel addresses have no names; empty: they have."""
    if len(found):
        return ""
    name = "/proc/sys/kernel/kptr_restrict"
    try:
        value = target.files.read(name).decode().strip()
    except (BpfctlError, UnicodeDecodeError):
        value = ""
    if not found.hidden:
        return "the kernel has no /proc/kallsyms (CONFIG_KALLSYMS)"
    if value == "2":
        return (
            "the kernel hides its addresses from everybody (kernel.kptr_restrict is 2): "
            "on the target, `sysctl kernel.kptr_restrict=1` shows them to the daemon"
        )
    return (
        f"the kernel hides its addresses from the daemon (kernel.kptr_restrict is "
        f"{value or 'not readable'}): it needs CAP_SYSLOG"
    )


def vmlinux(
    store: Store, symcaches: Symcaches, build_id: str, kallsyms: Kallsyms
) -> tuple[tuple[Symbols, int] | None, str]:
    """Lines of a kernel, and how far from its link addresses it lies (KASLR); or why not.

    The reason is empty where the store has no file of that build.
    """
    entry = store.find(build_id)
    if entry is None or entry.level is not Level.LINES:
        return None, ""
    linked = symbol_address(entry.path, _ANCHOR)
    runs = kallsyms.address_of(_ANCHOR)
    if not linked or not runs:
        return None, f"{entry.path}: without {_ANCHOR} it is not known where it was put"
    try:
        symbols = symcaches.find(entry.key) or symcaches.make(entry.key, entry.path)
    except ValueError as error:
        return None, f"{entry.path}: {error}"
    return (symbols, runs - linked), ""


def _chunks(target: Target, *, modules: bool = False) -> Iterator[bytes]:
    from bpfd.v1 import target_pb2

    rpc = target.rpc
    request = target_pb2.GetKallsymsRequest(only_modules=modules)
    with rpc.stream(rpc.target.GetKallsyms, request, "Target.GetKallsyms") as stream:
        for chunk in stream:
            yield chunk.data


def _modules(target: Target) -> Iterator[bytes]:
    """Lines of modules and BPF programs; an older daemon gives those of the kernel, too."""
    for text in _chunks(target, modules=True):
        yield b"".join(line for line in text.splitlines(True) if b"\t[" in line)


def _of_kernel(text: bytes) -> bytes:
    return b"".join(line for line in text.splitlines(True) if b"\t[" not in line)


def _keep(folder: Path, path: Path, text: bytes) -> None:
    """A cache that cannot be written is none, and no error."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        old = sorted(folder.iterdir(), key=lambda each: each.stat().st_mtime)
        for each in old[: -_KEEP_BOOTS + 1] if len(old) >= _KEEP_BOOTS else ():
            each.unlink(missing_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    except OSError:
        return
