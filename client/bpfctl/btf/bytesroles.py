# SPDX-License-Identifier: Apache-2.0
"""How runs of bytes are shown and typed in: addresses, text, floating point, raw bytes."""

from __future__ import annotations

import json
import math
import re
import shlex
import socket
import struct
from abc import ABC, abstractmethod

from bpfctl.btf.errors import BtfValueError
from bpfctl.btf.parse import ByteOrder
from bpfctl.btf.roles import Combine, Value
from bpfctl.btf.text import Quoted, quote, unquote

_MAPPED = bytes(10) + b"\xff\xff"
_MAC = re.compile(r"(?:[0-9A-Fa-f]{1,2}([:-]))(?:[0-9A-Fa-f]{1,2}\1){4}[0-9A-Fa-f]{1,2}")
_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")
_LOOKS_ESCAPED = re.compile(rb"\\(?=x[0-9a-fA-F]{2})")


def raw_bytes(value: object, size: int, field: str) -> bytes | None:
    """`size` bytes from bytes or from text that starts with hex:, None for anything else."""
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
    elif isinstance(value, str) and value.startswith("hex:") and not isinstance(value, Quoted):
        try:
            data = bytes.fromhex(value[4:].replace(":", " "))
        except ValueError:
            raise BtfValueError(
                field, f"{value!r} is not hex: followed by two hex digits for each byte"
            ) from None
    else:
        return None
    if len(data) != size:
        raise BtfValueError(field, f"{len(data)} bytes were given, {size} are due")
    return data


class BytesRole(ABC):
    """What `size` bytes mean; `name` is their C type. The methods are those of roles.py."""

    combine: Combine = "first"
    accepts = ""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size

    @abstractmethod
    def show(self, raw: bytes) -> Value:
        """The value of `size` bytes."""

    @abstractmethod
    def read(self, value: object, field: str) -> bytes:
        """The bytes of a value; fewer than `size` leave the rest as it is."""

    def format(self, value: Value) -> str:
        return str(value)

    def refuse(self, value: object, field: str) -> BtfValueError:
        return BtfValueError(
            field, f"{value!r} is not a value of {self.name}: {self.accepts} is due"
        )


class Ipv4(BytesRole):
    """Four bytes in network order."""

    accepts = "an IPv4 address such as 10.0.0.1"

    def show(self, raw: bytes) -> Value:
        return socket.inet_ntop(socket.AF_INET, raw)

    def read(self, value: object, field: str) -> bytes:
        try:
            if isinstance(value, str) and not value.isdecimal() and value[:2] != "0x":
                return socket.inet_pton(socket.AF_INET, value)
            if isinstance(value, str | int):
                return int(value if isinstance(value, int) else int(value, 0)).to_bytes(
                    4, "big"
                )
        except (OSError, ValueError, OverflowError):
            pass
        raise self.refuse(value, field)


class Ipv6(BytesRole):
    """Sixteen bytes; v4-mapped addresses (::ffff:10.0.0.1) are shown as IPv4."""

    accepts = "an IPv6 address such as 2001:db8::1, or an IPv4 address"

    def show(self, raw: bytes) -> Value:
        if raw[:12] == _MAPPED:
            return socket.inet_ntop(socket.AF_INET, raw[12:])
        return socket.inet_ntop(socket.AF_INET6, raw)

    def read(self, value: object, field: str) -> bytes:
        if not isinstance(value, str):
            raise self.refuse(value, field)
        try:
            if ":" in value:
                return socket.inet_pton(socket.AF_INET6, value)
            return _MAPPED + socket.inet_pton(socket.AF_INET, value)
        except (OSError, ValueError):
            raise self.refuse(value, field) from None


class Mac(BytesRole):
    """Six bytes."""

    accepts = "a MAC address such as 02:00:00:00:00:01"

    def show(self, raw: bytes) -> Value:
        return raw.hex(":")

    def read(self, value: object, field: str) -> bytes:
        if isinstance(value, str) and _MAC.fullmatch(value):
            return bytes(int(octet, 16) for octet in re.split("[:-]", value))
        raise self.refuse(value, field)


class Text(BytesRole):
    r"""Characters up to the first NUL; bytes that are not UTF-8 are shown as \xNN."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__(name, size)
        self.accepts = f"text of at most {size} bytes"

    def show(self, raw: bytes) -> Value:
        text = raw.split(b"\0", 1)[0]
        if b"\\" in text:
            text = _LOOKS_ESCAPED.sub(rb"\\x5c", text)
        return text.decode(errors="backslashreplace")

    def read(self, value: object, field: str) -> bytes:
        if not isinstance(value, str):
            raise self.refuse(value, field)
        try:
            encoded = unquote(value, field).encode()
        except UnicodeEncodeError:
            raise self.refuse(value, field) from None
        if b"\\" in encoded:
            encoded = _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), encoded)
        if len(encoded) > self.size:
            raise BtfValueError(
                field, f"{value!r} has {len(encoded)} bytes, {self.name} takes {self.size}"
            )
        return encoded + b"\0" if len(encoded) < self.size else encoded

    def format(self, value: Value) -> str:
        return quote(str(value))


class Arguments(BytesRole):
    """Words that each end with a NUL, as a process has them: shown as a shell takes them."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__(name, size)
        self.accepts = f"words of at most {size} bytes, quoted as for a shell"

    def show(self, raw: bytes) -> Value:
        end = len(raw.rstrip(b"\0"))
        # Empty words at the end cannot be told from what follows the last one.
        words = raw[:end].split(b"\0") if end else []
        return shlex.join(word.decode(errors="backslashreplace") for word in words)

    def read(self, value: object, field: str) -> bytes:
        if not isinstance(value, str):
            raise self.refuse(value, field)
        try:
            encoded = b"".join(word.encode() + b"\0" for word in shlex.split(value))
        except ValueError:
            raise self.refuse(value, field) from None
        if len(encoded) > self.size:
            raise BtfValueError(
                field, f"{value!r} has {len(encoded)} bytes, {self.name} takes {self.size}"
            )
        return encoded.ljust(self.size, b"\0")

    def format(self, value: Value) -> str:
        return quote(str(value))


class RawBytes(BytesRole):
    """Bytes of no known meaning: `hex:` and two digits for each."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__(name, size)
        self.accepts = f"hex: and {2 * size} hex digits"
        addresses: dict[int, type[Ipv4 | Ipv6 | Mac]] = {4: Ipv4, 6: Mac, 16: Ipv6}
        self._address = addresses.get(size)
        if self._address:
            self.accepts += f", or {self._address.accepts}"

    def show(self, raw: bytes) -> Value:
        return "hex:" + raw.hex()

    def read(self, value: object, field: str) -> bytes:
        if isinstance(value, list) and len(value) <= self.size:
            try:
                return bytes(value).ljust(self.size, b"\0")
            except (ValueError, TypeError):
                raise self.refuse(value, field) from None
        if isinstance(value, str) and self._address and re.search("[.:]", value):
            return self._address(self.name, self.size).read(value, field)
        if isinstance(value, str) and value.startswith("["):
            try:
                return self.read(json.loads(value), field)
            except json.JSONDecodeError:
                raise self.refuse(value, field) from None
        digits = isinstance(value, str) and re.fullmatch("[0-9a-fA-F]+", value)
        if isinstance(value, str) and digits and len(value) == 2 * self.size:
            return bytes.fromhex(value)
        raise self.refuse(value, field)


class Real(BytesRole):
    """float and double; what JSON has no number for is text: nan, inf, -inf."""

    accepts = "a number"
    combine: Combine = "sum"

    def __init__(self, name: str, size: int, order: ByteOrder) -> None:
        super().__init__(name, size)
        self.order: ByteOrder = order
        self._struct = struct.Struct(
            ("<" if order == "little" else ">") + {4: "f", 8: "d"}[size]
        )

    def show(self, raw: bytes) -> Value:
        number = self._struct.unpack(raw)[0]
        return number if math.isfinite(number) else str(number)

    def read(self, value: object, field: str) -> bytes:
        try:
            if isinstance(value, str | int | float):
                return self._struct.pack(float(value))
        except (ValueError, OverflowError, struct.error):
            pass
        raise self.refuse(value, field)

    def format(self, value: Value) -> str:
        return str(value)


class Prefix(BytesRole):
    """A key of an LPM trie: u32 prefix length in host order, then an address.

    The trie compares the bytes behind the length from the front, so they are in network
    order whatever their C type is (kernel: struct bpf_lpm_trie_key).
    """

    def __init__(self, name: str, address_size: int, order: ByteOrder) -> None:
        super().__init__(name, 4 + address_size)
        self.order: ByteOrder = order
        self.address_size = address_size
        self.family = socket.AF_INET if address_size == 4 else socket.AF_INET6
        self.accepts = (
            "an IPv4 prefix such as 10.0.0.0/8"
            if address_size == 4
            else "an IPv6 prefix such as 2001:db8::/32"
        )

    def show(self, raw: bytes) -> Value:
        length = int.from_bytes(raw[:4], self.order)
        return f"{socket.inet_ntop(self.family, raw[4:])}/{length}"

    def read(self, value: object, field: str) -> bytes:
        if not isinstance(value, str):
            raise self.refuse(value, field)
        address, slash, length = value.partition("/")
        try:
            packed = socket.inet_pton(self.family, address)
        except (OSError, ValueError):
            if self.address_size == 16 and address.count(".") == 3 and ":" not in address:
                raise BtfValueError(
                    field,
                    f"{value!r} is IPv4, this key takes {self.accepts} "
                    f"(a v4-mapped one is ::ffff:{address})",
                ) from None
            raise self.refuse(value, field) from None
        bits = 8 * self.address_size
        if slash and not re.fullmatch("[0-9]{1,9}", length):
            raise self.refuse(value, field)
        number = int(length) if slash else bits
        if number > bits:
            raise BtfValueError(
                field, f"/{length} is longer than the address; {self.name} takes /0 to /{bits}"
            )
        return number.to_bytes(4, self.order) + packed
