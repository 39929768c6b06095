# SPDX-License-Identifier: Apache-2.0
"""A packet as hexadecimal text, as people copy it from other tools."""

from __future__ import annotations

import re

from bpfctl.errors import InvalidArgument

_OFFSET = re.compile(r"\s*(?:0x)?[0-9a-fA-F]{4,8}(?::\s|\s{2,})")
"""In front of a line of xxd, `hexdump -C`, `tcpdump -xx` and Wireshark's dumps."""

_PAIRS = re.compile(r"[0-9a-fA-F]{2}")


def parse(text: str) -> bytes:
    """The bytes of "45 00 ...", "4500...", "45:00:...", "0x45, 0x00", or of a hex dump with
    offsets in front and text behind. Raises InvalidArgument.

    >>> parse("02:00 0x7f").hex()
    '02007f'
    """
    lines = [line for line in text.splitlines() if line.strip()]
    dump = len(lines) > 0 and all(_OFFSET.match(line) for line in lines)
    digits = "".join(_digits(_of_dump(line) if dump else line) for line in lines)
    if len(digits) % 2:
        raise InvalidArgument("hex", f"{len(digits)} digits are no whole bytes")
    return bytes.fromhex(digits)


def _of_dump(line: str) -> str:
    """Without the offset in front and the text behind, which two spaces or "|" set off."""
    rest = re.sub(_OFFSET, "", line, count=1)
    columns = re.split(r"\s*\||\s{3,}", rest)[0]
    # hexdump -C has two spaces after eight bytes, xxd and tcpdump before their text.
    parts = re.split(r"\s{2,}", columns)
    kept = [parts[0]] + [part for part in parts[1:] if _is_bytes(part)]
    return " ".join(kept)


def _is_bytes(part: str) -> bool:
    """Whether this is eight more bytes of `hexdump -C`, each apart."""
    return all(_PAIRS.fullmatch(word) for word in part.split())


def _digits(text: str) -> str:
    bare = re.sub(r"0[xX]|\\x", "", text)
    bare = re.sub(r"[\s:,;.-]", "", bare)
    found = re.search(r"[^0-9a-fA-F]", bare)
    if found is not None:
        raise InvalidArgument("hex", f"{found[0]!r} is no hexadecimal digit")
    return bare


def dump(data: bytes) -> str:
    """16 bytes a line, with offsets in front and text behind.

    >>> dump(b"bpf")
    '0000  62 70 66                                         bpf'
    """
    lines = []
    for at in range(0, len(data), 16):
        piece = data[at : at + 16]
        lines.append(f"{at:04x}  {piece.hex(' '):<47}  {text_of(piece)}")
    return "\n".join(lines)


def text_of(data: bytes) -> str:
    """Bytes as letters where they are ASCII, else dots."""
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
