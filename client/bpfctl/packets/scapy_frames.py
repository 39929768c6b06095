# SPDX-License-Identifier: Apache-2.0
"""Reads a scapy expression from standard input, writes its frames as lines of hex digits.

Run by `bpfctl.packets.expression`, never imported.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

_BUILTINS = ("bytes", "dict", "int", "len", "list", "range", "str", "tuple", "zip")
_NOBODY = "02:00:00:00:00:02"


def names(scapy: Any) -> dict[str, Any]:
    """scapy's layers and random values, and nothing that sends, reads files or runs."""
    kinds = (scapy.Packet, scapy.VolatileValue, scapy.Gen)
    found = {
        name: value
        for name, value in vars(scapy).items()
        if isinstance(value, type) and issubclass(value, kinds)
    }
    builtins = vars(sys.modules["builtins"])
    kept = {name: builtins[name] for name in _BUILTINS}
    return {**found, "fuzz": scapy.fuzz, "__builtins__": kept}


def packets(value: Any, scapy: Any) -> Iterator[bytes]:
    """Frames of a packet, of one with ranges in it, or of a list of either."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, scapy.Packet):
        for packet in value:
            headed = packet
            if isinstance(packet, scapy.IP | scapy.IPv6):
                headed = scapy.Ether() / packet
            yield bytes(headed)
    elif isinstance(value, str):
        raise TypeError("a text is no packet")
    else:
        for item in value:
            yield from packets(item, scapy)


def main() -> None:
    """One line for each frame; an error is the last line of standard error."""
    limit = int(sys.argv[1])
    try:
        code = compile(sys.stdin.read().strip(), "expression", "eval")
    except (SyntaxError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    import scapy.all as scapy

    # Nobody is asked for addresses: nothing is sent from here.
    scapy.conf.neighbor.resolve = lambda *_: _NOBODY
    try:
        value = eval(code, names(scapy))
        found = list(islice(packets(value, scapy), limit + 1))
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
    if len(found) > limit:
        sys.exit(f"these are more than {limit} packets")
    sys.stdout.write("".join(frame.hex() + "\n" for frame in found))


if __name__ == "__main__":
    main()
