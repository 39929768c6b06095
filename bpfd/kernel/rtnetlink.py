# SPDX-License-Identifier: Apache-2.0
"""rtnetlink in the calling thread's network namespace: requests, dumps, attributes.

Formats: linux/netlink.h, linux/rtnetlink.h. All functions raise OSError with the kernel's
errno.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

NESTED = 0x8000
"""Flag of an attribute that holds attributes."""

CREATE, EXCLUSIVE, REPLACE = 0x400, 0x200, 0x100
"""Flags of requests that make something."""

_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")


def dump(kind: int, request: bytes) -> Iterator[bytes]:
    """The payloads of the answers to a dump request."""
    with _socket() as sock:
        sock.send(_message(kind, _REQUEST | _DUMP, request))
        while True:
            for answer, payload in _answers(sock.recv(1 << 18)):
                if answer in (_DONE, _ERROR):
                    _check(answer, payload)
                    return
                yield payload


def request(kind: int, flags: int, payload: bytes) -> None:
    """A request that the kernel acknowledges."""
    with _socket() as sock:
        sock.send(_message(kind, _REQUEST | _ACK | flags, payload))
        for answer, said in _answers(sock.recv(1 << 16)):
            _check(answer, said)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type without flags, content) of each attribute."""
    position = 0
    while position + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[position + _ATTRIBUTE.size : position + length]
        position += length + 3 & ~3


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + bytes(-len(data) % 4)


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        sock.bind((0, 0))
    except OSError:
        sock.close()
        raise
    return sock


def _message(kind: int, flags: int, payload: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(payload), kind, flags, 1, 0) + payload


def _answers(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + _HEADER.size <= len(data):
        length, answer, _, _, _ = _HEADER.unpack_from(data, position)
        yield answer, data[position + _HEADER.size : position + length]
        position += max(length + 3 & ~3, _HEADER.size)


def _check(answer: int, payload: bytes) -> None:
    if answer == _ERROR and (number := -struct.unpack_from("=i", payload)[0]):
        raise OSError(number, os.strerror(number))
