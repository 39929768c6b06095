# SPDX-License-Identifier: Apache-2.0
"""vmlinux.h: the types of a target's kernel as one C header, made from its BTF."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from .compiler import cache
from .compiler.errors import NoKernelTypes

VMLINUX_H = "vmlinux.h"

HEADERS_KEPT = 32
"""Kernels whose header stays in the cache; one is about 3.5 MB."""

_END = b"\n/* end of vmlinux.h */\n"
"""Written last; without it the header is made again."""

_GUARD = "#ifndef __VMLINUX_H__\n#define __VMLINUX_H__\n"
_PUSH = """
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif
"""
_POP = """
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif
"""


def header_folder(
    root: Path, btf_sha256: str, fetch_btf: Callable[[], bytes], target: str = "local"
) -> Path:
    """The folder with the vmlinux.h of a kernel, for -isystem.

    `root` is the cache folder, `btf_sha256` the hex hash of the kernel's BTF, empty when it
    has none. `fetch_btf` is called only when the header is not in the cache; `target` is
    the target's name, for texts. Raises NoKernelTypes, and whatever `fetch_btf` raises.
    """
    if not btf_sha256:
        from .kernelbtf.shipping import how_to_get

        raise NoKernelTypes(
            "the source includes vmlinux.h, which is made from the target's BTF, and the"
            f" target's kernel has none (CONFIG_DEBUG_INFO_BTF): {how_to_get(target)}; or put"
            " a vmlinux.h of a kernel of the same family beside the source"
        )
    folder = root / "vmlinux" / btf_sha256
    if not _is_whole(folder / VMLINUX_H):
        btf = fetch_btf()
        found = hashlib.sha256(btf).hexdigest()
        if found != btf_sha256:
            raise NoKernelTypes(
                f"the target's BTF changed while it was fetched ({btf_sha256[:12]} is now"
                f" {found[:12]}): did it boot another kernel? Try again"
            )
        text = dump_header(root, btf)
        cache.write(folder / VMLINUX_H, text.encode() + _END)
        _prune(root / "vmlinux", folder)
    return folder


def dump_header(root: Path, btf: bytes) -> str:
    """C declarations of all types of raw BTF, written by bpftool, with the usual guard.

    `root` is where the temporary file goes. Where the workstation has no bpftool, or one
    that is too old for this BTF, a newer one is unpacked from Debian's package. Raises
    NoKernelTypes.
    """
    text = _declarations(root, btf, "vmlinux.h", "struct")
    return wrap(narrow_longs(text) if _is_32bit(btf) else text)


def declarations(root: Path, btf: bytes) -> str:
    """C declarations of all types of raw BTF, whoever's, without guard and attributes.

    As `dump_header` otherwise; a long is a long, also of a 32-bit kernel.
    """
    text = _declarations(root, btf, "C declarations", "")
    return _AROUND.sub("", text).strip("\n") + "\n"


_AROUND = re.compile(r"^#(ifndef|define|endif|pragma)\b.*\n", re.MULTILINE)
"""Lines of bpftool's own around the declarations, which have none."""


def _declarations(root: Path, btf: bytes, what: str, has: str) -> str:
    try:
        return _dump(root, [find_bpftool()], btf, what, has)
    except NoKernelTypes:
        newer = _newer_bpftool(btf)
        if not newer:
            raise
        return _dump(root, newer, btf, what, has)


def _dump(root: Path, bpftool: list[str], btf: bytes, what: str, has: str) -> str:
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory(prefix=".btf-", dir=root) as place:
        path = os.path.join(place, "btf")
        Path(path).write_bytes(btf)
        done = subprocess.run(
            [*bpftool, "btf", "dump", "file", path, "format", "c"],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
        )
    if done.returncode or has not in done.stdout:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[0]
        raise NoKernelTypes(
            f"{bpftool[-1]} cannot turn the target's BTF into {what}: {said}."
            " A newer bpftool may; BPFCTL_BPFTOOL names another one"
        )
    return done.stdout


def _newer_bpftool(btf: bytes) -> list[str]:
    """What starts the one of Debian's package; empty: it cannot be had, or would not help."""
    from .kernelbtf import KernelBtfError, hosttools

    if os.environ.get("BPFCTL_BPFTOOL") or not btf.startswith((b"\x9f\xeb", b"\xeb\x9f")):
        return []
    try:
        return hosttools.unpacked(hosttools.BPFTOOL)
    except KernelBtfError:
        return []


_LONG = re.compile(r"(?<!long )\b(unsigned )?long\b(?! long)( unsigned)?( int)?\b")


def narrow_longs(text: str) -> str:
    """C declarations of a 32-bit kernel, whose longs have 32 bits for BPF, too.

    To the compiler a long has 64 bits, as BPF has; an int has those of the kernel's.
    `long long` stays what it is.
    """
    return _LONG.sub(lambda found: "unsigned int" if found[1] or found[2] else "int", text)


def _is_32bit(btf: bytes) -> bool:
    from .btf import Btf

    return Btf.parse(btf).pointer_size == 4


def wrap(text: str) -> str:
    """The header with include guard and preserve_access_index, unless it has them."""
    if "preserve_access_index" not in text:
        text = _PUSH + text + _POP
    if "__VMLINUX_H__" not in text:
        text = f"{_GUARD}{text}\n#endif /* __VMLINUX_H__ */\n"
    return text


def find_bpftool() -> str:
    """$BPFCTL_BPFTOOL or bpftool of PATH or of the folders for root; raises NoKernelTypes."""
    override = os.environ.get("BPFCTL_BPFTOOL")
    places = os.pathsep.join(
        [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"]
    )
    path = shutil.which(override or "bpftool", path=places)
    if path is None:
        raise NoKernelTypes(
            (f"BPFCTL_BPFTOOL is {override!r}, which is no program" if override else "")
            or "vmlinux.h is made with bpftool, and there is none: install it (Debian: apt"
            " install bpftool), or set BPFCTL_BPFTOOL"
        )
    return path


def _is_whole(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(-len(_END), os.SEEK_END)
            return file.read() == _END
    except OSError:
        return False


def _prune(place: Path, keep: Path) -> None:
    with os.scandir(place) as entries:
        found = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries)
    for _, path in found[: max(0, len(found) - HEADERS_KEPT)]:
        if path != str(keep):
            shutil.rmtree(path, ignore_errors=True)
