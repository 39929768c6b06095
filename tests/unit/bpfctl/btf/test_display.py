# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest
from bpfctl.btf import Btf, BtfError, BtfValueError, Codec, display
from bpfctl.btf.kinds import IntEncoding, Kind

from tests.unit.bpfctl.btf.blob import Blob
from tests.unit.bpfctl.btf.objects import compiled, section
from tests.unit.bpfctl.btf.shapes import ORDERS, codec

TYPED = {
    "saddr": "10.0.0.1",
    "daddr": "10.0.0.2",
    "d6": "2001:db8::1",
    "dport": 443,
    "cookie": 0x0102030405060708,
    "mac": "02:00:00:00:00:01",
    "comm": "curl",
    "reason": "BROKEN",
    "flags": "SYN|ACK",
    "wide": "WIDE",
    "three": 5,
    "twelve": -7,
    "bit": True,
    "yes": True,
    "v4": "1.2.3.4",
    "v6": "102:304::",
    "both": {"word": 0, "octets": [0, 0, 0, 0]},
    "single": 0.5,
    "twice": -2.25,
    "pointer": "0xffff888000000000",
    "call": "0x0",
    "matrix": [[1, 2, 3], [-4, 5, 6]],
    "duration": 1_500_000,
    "time": 12_345_678_901,
    "ip": "192.0.2.1",
    "six": "10.9.8.7",
    "hardware": "0xdeadbeef",
    "digest": "hex:0001020304050607",
    "many": ["1.1.1.1", "0.0.0.0"],
    "number": -5,
    "pair": [{"a": 1, "b": 2}, {"a": -3, "b": 4}],
    "huge": "0x123456789abcdef0123456789abcdef0",
    "names": ["ab", "abcd"],
    "payload": "hex:" + "ab" * 20,
    "few": [1, 2, 3],
    "ack_seq": 4000000000,
    "source_ip6": "fe80::1",
    "plain": list(range(16)),
    "vip": "198.51.100.7",
    "counter": 2**64 - 1,
    "tail": [],
}


def test_every_rule(everything: Btf) -> None:
    coder = codec(everything, "everything")
    assert coder.decode(coder.encode(TYPED)) == TYPED
    assert list(coder.decode(bytes(coder.size))) == list(TYPED) == list(coder.fields)


def test_bytes_are_those_of_the_target(everything: Btf) -> None:
    coder = codec(everything, "everything")
    order = everything.byteorder
    raw = coder.encode({"saddr": "10.0.0.1", "dport": 443, "number": -2, "three": 5})
    found = everything.find("everything", Kind.STRUCT)
    at = {member.name: member.bit_offset // 8 for member in getattr(found, "members", ())}
    assert raw[at["saddr"] :][:4] == bytes([10, 0, 0, 1])
    assert raw[at["dport"] :][:2] == bytes([1, 187])
    assert raw[at["number"] :][:8] == (-2).to_bytes(8, order, signed=True)
    # The first bit field takes the low bits in little endian, the high ones in big endian.
    assert raw[at["three"]] == (5 if order == "little" else 5 << 5)


def test_bit_fields_are_where_the_compiler_puts_them(tmp_path: Path) -> None:
    source = r"""
    struct bits { unsigned a : 3; int b : 7; unsigned char c : 5; unsigned long long d : 40;
                  unsigned e : 1; } ;
    const struct bits bits __attribute__((used)) = { 5, -9, 17, 0x123456789aULL, 1 };
    """
    for order in ORDERS:
        elf = compiled(source, tmp_path, order)
        coder = codec(Btf.parse(section(elf, ".BTF")), "bits")
        raw = section(elf, ".rodata")
        value = {"a": 5, "b": -9, "c": 17, "d": 0x123456789A, "e": 1}
        assert coder.decode(raw) == value
        assert coder.encode(value) == raw


@pytest.mark.parametrize(
    ("name", "typed", "raw"),
    [
        ("prefix_v4", "10.0.0.0/8", "08 0a000000"),
        ("prefix_v4", "10.1.2.3", "20 0a010203"),
        ("prefix_v6", "2001:db8::/32", "20 20010db8000000000000000000000000"),
        ("prefix_embedded", "192.0.2.0/24", "18 c0000200"),
        ("prefix_header", "0.0.0.0/0", "00 00000000"),
    ],
)
def test_prefixes(everything: Btf, name: str, typed: str, raw: str) -> None:
    length, address = raw.split()
    expected = int(length, 16).to_bytes(4, everything.byteorder) + bytes.fromhex(address)
    coder = codec(everything, name)
    assert coder.parse(typed) == expected
    shown = typed if "/" in typed else f"{typed}/32"
    assert coder.decode(expected) == coder.format(coder.decode(expected)) == shown


def test_prefixes_are_told_by_name_or_by_the_map(everything: Btf) -> None:
    assert codec(everything, "prefix_other").decode(bytes(8)) == {
        "prefixlen": 0,
        "low": 0,
        "high": 0,
    }
    unnamed = codec(everything, "prefix_unnamed")
    assert unnamed.decode(bytes(8)) == {"length": 0, "what": "0.0.0.0"}
    assert codec(everything, "prefix_unnamed", lpm=True).decode(bytes(8)) == "0.0.0.0/0"
    apart = codec(everything, "prefix_v4", lpm=False)
    assert apart.decode(bytes(8)) == {"prefixlen": 0, "address": "0.0.0.0"}
    assert codec(everything, "prefix_other", lpm=True).fields == ("prefixlen", "low", "high")


def test_plain_shows_numbers(everything: Btf) -> None:
    raw = codec(everything, "everything").encode(TYPED)
    plain = codec(everything, "everything", plain=True).decode(raw)
    order = everything.byteorder
    assert plain["saddr"] == int.from_bytes(bytes([10, 0, 0, 1]), order)
    assert plain["dport"] == int.from_bytes(bytes([1, 187]), order)
    assert plain["mac"] == [2, 0, 0, 0, 0, 1]
    assert plain["hardware"] == 0xDEADBEEF
    assert plain["comm"] == "curl"
    assert plain["reason"] == "BROKEN"
    assert plain["flags"] == 3
    assert plain["pointer"] == 0xFFFF888000000000
    assert codec(everything, "prefix_v4", plain=True, lpm=True).fields == (
        "prefixlen",
        "address",
    )


@pytest.mark.parametrize(
    ("name", "speaks"),
    [
        ("saddr", True),
        ("saddr_v6", True),
        ("remoteIp6", True),
        ("src", True),
        ("ip", True),
        ("skip", False),
        ("zip_code", False),
        ("uuid", False),
        ("", False),
    ],
)
def test_names_that_speak_of_an_address(name: str, speaks: bool) -> None:
    assert display.speaks_of_address(name) is speaks


def test_tags_of_typedefs_hold_and_unknown_ones_do_not() -> None:
    blob = Blob()
    number = blob.integer("unsigned int", 4)
    address = blob.typedef("address", number)
    blob.tag("bpfd:format=ipv4", address)
    struct = blob.struct("s", 8, [("a", address, 0), ("b", number, 32)])
    blob.tag("bpfd:format=colour", struct, 1)
    blob.tag("bpfd:format=ipv6", struct, 1)
    btf = blob.btf()
    assert Codec(btf, struct).decode(bytes([1, 2, 3, 4, 5, 0, 0, 0])) == {
        "a": "1.2.3.4",
        "b": 5,
    }
    assert Codec(btf, address).decode(bytes(4)) == "0.0.0.0"


def test_arguments_modes_and_kernel_addresses_by_tag() -> None:
    blob = Blob()
    char, word = blob.integer("char", 1), blob.integer("unsigned int", 4)
    long = blob.integer("unsigned long long", 8)
    text = blob.array(char, 12)
    struct = blob.struct("s", 24, [("a", text, 0), ("m", word, 96), ("f", long, 128)])
    for member, tag in enumerate(("arguments", "octal", "kernel address")):
        blob.tag(f"bpfd:format={tag}", struct, member)
    known = Codec(blob.btf(), struct)
    raw = b"sh\0-c\0 x y\0\0" + (0o644).to_bytes(4, "little") + (0xFF00).to_bytes(8, "little")
    shown = {"a": "sh -c ' x y'", "m": "0o644", "f": "0xff00"}
    assert known.decode(raw) == shown
    assert known.encode(shown) == raw
    with pytest.raises(BtfValueError, match="takes 12"):
        known.encode({**shown, "a": "words that are too long"})
    with pytest.raises(BtfValueError, match="quoted as for a shell"):
        known.encode({**shown, "a": "'"})


def test_an_integer_by_the_names_of_an_enum(everything: Btf) -> None:
    both = codec(everything, "enum_by_tag")
    raw = both.parse("reason=BLOCKED missing=5")
    assert both.decode(raw) == {"reason": "BLOCKED", "missing": 5}
    plain = codec(everything, "enum_by_tag", plain=True)
    assert plain.decode(raw) == {"reason": 5, "missing": 5}


def test_what_has_no_size_has_no_value() -> None:
    blob = Blob()
    forward = blob.add(Kind.FWD, "later", 0)
    prototype = blob.prototype(0, [])
    function = blob.add(Kind.FUNC, "run", prototype)
    empty = blob.struct("empty", 0, [])
    number = blob.integer("int", 4)
    holder = blob.struct("holder", 4, [("a", forward, 0), ("b", empty, 0), ("c", number, 0)])
    btf = blob.btf()
    for type_id in (0, forward, prototype, function):
        coder = Codec(btf, type_id)
        assert coder.size == 0
        assert coder.decode(b"") is None
        assert coder.parse(coder.format(None)) == b""
    assert Codec(btf, empty).decode(b"") == {}
    assert Codec(btf, holder).decode(bytes(4)) == {"a": None, "b": {}, "c": 0}


def test_data_sections_are_structs_of_their_variables() -> None:
    blob = Blob()
    number = blob.integer("unsigned int", 4)
    first = blob.variable("first", number)
    second = blob.variable("second", number)
    section = blob.section(".data", 12, [(first, 0, 4), (second, 8, 4)])
    coder = Codec(blob.btf(), section)
    assert coder.size == 12
    assert coder.decode(bytes([1, 0, 0, 0, 9, 9, 9, 9, 2, 0, 0, 0])) == {
        "first": 1,
        "second": 2,
    }
    assert Codec(blob.btf(), first).decode(bytes([7, 0, 0, 0])) == 7


def test_integers_of_few_bits_are_bit_fields_of_old() -> None:
    blob = Blob()
    five = blob.integer("unsigned int", 4, bits=5, at=3)
    struct = blob.struct("old", 4, [("a", five, 0), ("b", five, 8)])
    coder = Codec(blob.btf(), struct)
    assert coder.decode(bytes([0b10101000, 0b01111000, 0, 0])) == {"a": 21, "b": 15}


def test_floats_of_other_sizes_are_bytes() -> None:
    blob = Blob()
    long_double = blob.add(Kind.FLOAT, "long double", 16)
    coder = Codec(blob.btf(), long_double)
    assert coder.decode(bytes(16)) == "hex:" + "00" * 16


def test_refuses_types_that_cannot_be() -> None:
    blob = Blob()
    number = blob.integer("int", 4, IntEncoding.SIGNED)
    loop = blob.struct("loop", 8, [("a", number + 1, 0), ("b", number + 1, 32)])
    outside = blob.struct("outside", 4, [("a", number, 32)])
    shifted = blob.struct("shifted", 8, [("a", blob.pointer(), 3)])
    btf = blob.btf()
    for type_id, message in (
        (loop, "contains itself"),
        (outside, "ends outside"),
        (shifted, "a bit field of type void"),
    ):
        with pytest.raises(BtfError, match=message):
            Codec(btf, type_id)
    blob.array(number, 1 << 29)
    with pytest.raises(ValueError, match="limit"):
        Codec(blob.btf(), shifted + 1)


def test_the_rules_are_written_down() -> None:
    page = Path(__file__).parents[4] / "docs/design/004-values-by-btf.md"
    text = page.read_text()
    rules = re.findall(r"^\d+\. ", display.__doc__ or "", re.MULTILINE)
    assert len(re.findall(r"^\d+\. ", text, re.MULTILINE)) >= len(rules) == 8
