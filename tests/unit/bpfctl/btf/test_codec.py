# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
import struct
import subprocess
import sys

import pytest
from bpfctl.btf import Btf, BtfValueError, Codec, array
from bpfctl.btf.kinds import IntEncoding
from bpfctl.btf.parse import ByteOrder
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.bpfctl.btf.blob import Blob
from tests.unit.bpfctl.btf.shapes import codec, values


@given(values())
@settings(max_examples=300)
def test_what_is_shown_can_be_typed_in(drawn: tuple[Codec, bytes]) -> None:
    coder, raw = drawn
    value = coder.decode(raw)
    typed = coder.parse(coder.format(value))
    assert coder.decode(typed) == value
    # A string would be something typed.
    assert coder.encode(typed if isinstance(value, str) else value) == typed
    assert json.loads(json.dumps(value)) == value
    assert "\n" not in coder.format(value)
    # What has no gaps and no text comes back to the bit.
    assert coder.parse(coder.format(coder.decode(typed))) == typed


@given(values(), st.text(alphabet="{}[]=,.:\"'\\ ab01xh e\n\u00e9\0-|", max_size=30))
@settings(max_examples=300)
def test_any_text_is_a_value_or_a_clear_error(drawn: tuple[Codec, bytes], text: str) -> None:
    coder, _ = drawn
    try:
        assert len(coder.parse(text)) == coder.size
    except BtfValueError as error:
        if not error.why or not str(error).endswith(error.why):
            raise AssertionError from error


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("saddr=10.0.0.1 dport=443", {"saddr": "10.0.0.1", "dport": 443}),
        ("saddr=10.0.0.1,dport=0x1bb", {"saddr": "10.0.0.1", "dport": 443}),
        ("{ saddr = 10.0.0.1 , dport = 443 }", {"saddr": "10.0.0.1", "dport": 443}),
        ('{"saddr": "10.0.0.1", "dport": 443}', {"saddr": "10.0.0.1", "dport": 443}),
        ("pair[1].a=-3 pair[0]={a=1 b=2}", {"pair": [{"a": 1, "b": 2}, {"a": -3, "b": 0}]}),
        ("matrix=[[1,2],[-4]] ", {"matrix": [[1, 2, 0], [-4, 0, 0]]}),
        ('pair=[{"a": 1, "b": 2}, {"a":-3}]', {"pair": [{"a": 1, "b": 2}, {"a": -3, "b": 0}]}),
        ("names=[0, 1x]", {"names": ["0", "1x"]}),
        ('names=["a b", "hex:"]', {"names": ["a b", "hex:"]}),
        ("matrix[1][2]=9", {"matrix": [[0, 0, 0], [0, 0, 9]]}),
        ('comm="two words"', {"comm": "two words"}),
        (r"comm=a\x01b", {"comm": "a\x01b"}),
        ("comm=hex:6162" + "00" * 14, {"comm": "ab"}),
        ('comm="hex:61"', {"comm": "hex:61"}),
        ("both.word=0xffffffff", {"both": {"word": 2**32 - 1, "octets": [255] * 4}}),
        ("both.octets=[255,255,255,255]", {"both": {"word": 2**32 - 1, "octets": [255] * 4}}),
        ("v6=2001:db8::1", {"v4": "32.1.13.184", "v6": "2001:db8::1"}),
        ("d6=10.0.0.1", {"d6": "10.0.0.1"}),
        ("d6=::ffff:10.0.0.1", {"d6": "10.0.0.1"}),
        ("mac=2-0-0-0-0-1", {"mac": "02:00:00:00:00:01"}),
        ("reason=blocked", {"reason": "BLOCKED"}),
        ("reason=77", {"reason": 77}),
        ("flags=SYN|FIN", {"flags": "SYN|FIN"}),
        ("flags=9", {"flags": "SYN|0x8"}),
        ("yes=on bit=true", {"yes": True, "bit": True}),
        ("duration=1.5ms time=2s", {"duration": 1_500_000, "time": 2_000_000_000}),
        ("duration=0.25us", {"duration": 250}),
        ("few=[1,2]", {"few": [1, 2, 0]}),
        ("few=hex:010203", {"few": [1, 2, 3]}),
        ("payload[3]=7", {"payload": "hex:000000070" + "0" * 31}),
        ("plain=2001:db8::1", {"plain": [32, 1, 13, 184, *[0] * 11, 1]}),
        ("single=nan twice=-inf", {"single": "nan", "twice": "-inf"}),
        ("three=0b101 twelve=-2048", {"three": 5, "twelve": -2048}),
        ("saddr=167772161", {"saddr": "10.0.0.1"}),
        ("", {}),
    ],
)
def test_what_people_type(everything: Btf, typed: str, shown: dict[str, object]) -> None:
    coder = codec(everything, "everything")
    zero = coder.decode(bytes(coder.size))
    assert coder.decode(coder.parse(typed)) == {**zero, **shown}


@pytest.mark.parametrize(
    ("typed", "field", "why"),
    [
        ("saddr=10.0.0.300", "saddr", "'10.0.0.300' is not a value of __be32: an IPv4 address"),
        ("dport=70000", "dport", "70000 does not fit into __be16, which takes 0 to 65535"),
        ("dport=http", "dport", "'http' is not a value of __be16: a number from 0 to 65535"),
        ("number=1.5", "number", "a number from -9223372036854775808 to 9223372036854775807"),
        ("counter=-1", "counter", "takes 0 to 18446744073709551615"),
        ("three=8", "three", "8 does not fit into __u32:3, which takes 0 to 7"),
        ("mac=1:2:3", "mac", "a MAC address such as 02:00:00:00:00:01 is due"),
        ("comm=aaaaaaaaaaaaaaaaa", "comm", "has 17 bytes, char[16] takes 16"),
        ("reason=BLOKED", "reason", "did you mean BLOCKED"),
        ("flags=SYN|URG", "flags", "'URG' is not a value of enum flags"),
        ("yes=maybe", "yes", "true or false is due"),
        ("nothing=1", "nothing", "struct everything has no such field; it has saddr, daddr"),
        ("sadr=1.1.1.1", "sadr", "did you mean saddr?"),
        ("pair[2].a=1", "pair[2]", "has elements 0 to 1"),
        ("pair[0].a=x", "pair[0].a", "'x' is not a value of int"),
        ("pair={a=1}", "pair", "a list of at most 2, such as [1,2,3] is due"),
        ("few=1", "few", "a list of at most 3"),
        ("matrix=[[1,2,3,4]]", "matrix[0]", "4 elements were given, int[3] takes 3"),
        ("both.none=1", "both.none", "it has word, octets"),
        ("dport.low=1", "dport", "__be16 has no part 'low'"),
        ("saddr=1.1.1.1 saddr=1.1.1.2", "saddr", "is given twice"),
        ("comm=two words", "", "field=value is due where 'words' stands"),
        ("saddr", "", "field=value is due where 'saddr' stands"),
        ("pair=[{a=1", "", "do not match"),
        ("digest=hex:00", "digest", "1 bytes were given, 8 are due"),
        ("digest=hex:zz", "digest", "two hex digits for each byte"),
        ("duration=0.1ns", "duration", "not a whole number of nanoseconds"),
        ("d6=fe80::1%eth0", "d6", "an IPv6 address such as 2001:db8::1"),
        ("hex:00", "", "1 bytes were given"),
    ],
)
def test_errors_name_the_field_and_what_is_due(
    everything: Btf, typed: str, field: str, why: str
) -> None:
    with pytest.raises(BtfValueError) as caught:
        codec(everything, "everything").parse(typed)
    assert caught.value.field == field
    assert why in caught.value.why


def test_text_in_values_is_taken_as_it_is(everything: Btf) -> None:
    coder = codec(everything, "everything")
    for text in ("hex:61", '"quoted"', " blank ", "[1]", "{a=1}"):
        value = coder.decode(coder.encode({"comm": text}))
        assert value["comm"] == text
        assert coder.decode(coder.parse(json.dumps({"comm": text})))["comm"] == text
    assert coder.decode(coder.encode({"names": ["hex:", "a b"]}))["names"] == ["hex:", "a b"]


def test_the_caller_names_the_whole(everything: Btf) -> None:
    with pytest.raises(BtfValueError, match=r"^key\.dport: 70000"):
        codec(everything, "everything").parse("dport=70000", "key")
    with pytest.raises(BtfValueError, match=r"^key: .*IPv4 prefix such as 10\.0\.0\.0/8"):
        codec(everything, "prefix_v4").parse("fe80::/10", "key")


@pytest.mark.parametrize(
    ("name", "typed", "why"),
    [
        ("prefix_v4", "10.0.0.0/33", "/33 is longer than the address; .* takes /0 to /32"),
        ("prefix_v4", "10.0.0.0/", "IPv4 prefix"),
        ("prefix_v4", "10.0.0.0/-1", "IPv4 prefix"),
        ("prefix_v6", "10.0.0.0/8", "is IPv4, this key takes an IPv6 prefix"),
        ("prefix_v6", "fe80::/129", "takes /0 to /128"),
        ("prefix_v4", "prefixlen=8 adress=1.1.1.1", "did you mean address"),
    ],
)
def test_wrong_prefixes(everything: Btf, name: str, typed: str, why: str) -> None:
    with pytest.raises(BtfValueError, match=why):
        codec(everything, name).parse(typed)


def test_prefixes_are_taken_field_by_field(everything: Btf) -> None:
    coder = codec(everything, "prefix_v4")
    assert coder.parse("prefixlen=8 address=10.0.0.0") == coder.parse("10.0.0.0/8")
    assert coder.encode({"prefixlen": 8, "address": "10.0.0.0"}) == coder.parse("10.0.0.0/8")


def test_a_struct_of_one_field_is_typed_as_its_field() -> None:
    blob = Blob()
    number = blob.integer("unsigned int", 4)
    struct = blob.struct("key", 4, [("index", number, 0)])
    coder = Codec(blob.btf(), struct)
    assert coder.parse("7") == coder.parse("index=7") == bytes([7, 0, 0, 0])
    assert coder.accepts == "a number from 0 to 4294967295"
    with pytest.raises(BtfValueError, match=r"^key\.index: 'x'"):
        coder.parse("x", "key")


def test_takes_bytes_and_only_as_many_as_it_has(everything: Btf) -> None:
    coder = codec(everything, "prefix_v4")
    assert coder.encode(bytes(range(8))) == bytes(range(8))
    assert coder.parse("hex:00 01:02 03 04050607") == bytes(range(8))
    with pytest.raises(BtfValueError, match="3 bytes were given, 8 are due"):
        coder.encode(b"abc")
    with pytest.raises(BtfValueError, match="struct prefix_v4 has 8 bytes, got 3"):
        coder.decode(b"abc")
    assert coder.decode(bytes(12)) == "0.0.0.0/0"


@pytest.mark.parametrize("order", ["little", "big"])
def test_without_btf(order: ByteOrder) -> None:
    raw = Codec.raw(4, order)
    assert raw.decode((258).to_bytes(4, order)) == 258
    assert raw.parse("10.0.0.1") == bytes([10, 0, 0, 1])
    assert raw.type_name == "u32"
    six = Codec.raw(6, order)
    assert six.decode(bytes(range(6))) == "hex:000102030405"
    assert six.parse("00:01:02:03:04:05") == six.parse("000102030405") == bytes(range(6))
    assert Codec.raw(16, order).parse("::1") == bytes(15) + b"\1"
    prefix = Codec.raw(20, order, lpm=True)
    assert prefix.parse("2001:db8::/32")[:4] == (32).to_bytes(4, order)
    assert Codec.raw(0).decode(b"") is None
    with pytest.raises(BtfValueError, match="hex: and 14 hex digits"):
        Codec.raw(7).parse("1234")


def test_of_a_map(everything: Btf) -> None:
    found = everything.find("prefix_v4")
    assert found is not None
    assert Codec.of(everything, found.id, 8).type_name == "struct prefix_v4"
    # The map knows better than a type of another size.
    assert Codec.of(everything, found.id, 4).byteorder == everything.byteorder
    assert Codec.of(everything, found.id, 4).type_name == "u32"
    assert Codec.of(None, 0, 8, lpm=True).decode(bytes(8)) == "0.0.0.0/0"


def test_values_of_cpus_apart_and_combined(everything: Btf) -> None:
    coder = codec(everything, "everything")
    stride = (coder.size + 7) // 8 * 8
    typed = [
        "counter=1 number=-5 time=5 duration=1 three=1 single=0.5 matrix[0][1]=1",
        "counter=2 number=3 time=9 duration=2 three=2 single=1 matrix[0][1]=2 comm=x yes=true",
        "dport=80 saddr=10.0.0.1 reason=BLOCKED comm=y dport=80".replace(" dport=80", "", 1),
    ]
    whole = b"".join(coder.parse(text).ljust(stride, b"\0") for text in typed)
    apart = coder.decode_cpus(whole, stride)
    assert [value["counter"] for value in apart] == [1, 2, 0]
    one = coder.combine(apart)
    expected = {
        "counter": 3,
        "number": -2,
        "time": 9,
        "duration": 3,
        "three": 3,
        "single": 1.5,
        "matrix": [[0, 3, 0], [0, 0, 0]],
        "comm": "x",
        "yes": True,
        "dport": 80,
        "saddr": "10.0.0.1",
        "reason": "BLOCKED",
    }
    assert {name: one[name] for name in expected} == expected
    for data, wrong in ((whole[:-1], stride), (whole, 0), (whole, 4)):
        with pytest.raises(BtfValueError, match="are not values of"):
            coder.decode_cpus(data, wrong)
    with pytest.raises(BtfValueError, match="no values"):
        coder.combine([])


def test_control_characters_do_not_reach_the_terminal(everything: Btf) -> None:
    coder = codec(everything, "everything")
    for raw in (b"\x1b[2J", b"\x7f", "\u009b31m".encode(), "\u202e".encode(), b"\xff\n"):
        value = coder.decode(coder.encode({"comm": raw.ljust(16, b"\0")}))
        assert coder.format(value).isprintable()
        assert coder.decode(coder.parse(coder.format(value))) == value


def test_backslashes_come_back() -> None:
    blob = Blob()
    char = blob.integer("char", 1)
    blob.array(char, 16)
    coder = Codec(blob.btf(), 2)
    for raw in (rb"C:\x41\dir", b"\xff\\xff", b"a\\", b"\\\\x5c"):
        padded = raw.ljust(16, b"\0")
        assert coder.parse(coder.format(coder.decode(padded))) == padded


def test_floats_that_json_has_no_number_for(everything: Btf) -> None:
    coder = codec(everything, "everything")
    value = coder.decode(coder.encode({"single": math.inf, "twice": math.nan}))
    assert (value["single"], value["twice"]) == ("inf", "nan")


def test_import_does_not_take_numpy_along() -> None:
    code = "import sys, bpfctl.btf.array, bpfctl.btf.events; print('numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_static_variables_of_functions_are_typed_by_their_dotted_names() -> None:
    blob = Blob()
    number = blob.integer("int", 4, IntEncoding.SIGNED)
    pair = blob.struct("pair", 8, [("a", number, 0), ("b", number, 32)])
    names = {"count": pair, "count.seen": number, "count.seen.1": number, "other.last": pair}
    variables = [blob.variable(name, target, 0) for name, target in names.items()]
    sizes = [8, 4, 4, 8]
    places = [sum(sizes[:index]) for index in range(len(sizes))]
    section = blob.section(".bss", 24, list(zip(variables, places, sizes, strict=True)))
    coder = Codec(blob.btf(), section)
    value = {
        "count": {"a": 1, "b": 2},
        "count.seen": 3,
        "count.seen.1": 4,
        "other.last": {"a": 5, "b": 6},
    }
    raw = struct.pack("<6i", 1, 2, 3, 4, 5, 6)
    assert coder.decode(raw) == value
    assert coder.encode(value) == raw
    assert coder.parse(json.dumps(value)) == raw
    assert coder.parse(coder.format(value)) == raw
    assert coder.parse("count.b=2 count.a=1 other.last.b=6")[:8] == raw[:8]
    with pytest.raises(BtfValueError, match="no such field"):
        coder.parse("other.first=1")


def test_variables_of_one_name_are_told_apart() -> None:
    blob = Blob()
    number = blob.integer("unsigned int", 4)
    names = ["seen", "seen", "seen.2", "other", "seen"]
    variables = [blob.variable(name, number, 0) for name in names]
    section = blob.section(".bss", 20, [(each, 4 * at, 4) for at, each in enumerate(variables)])
    coder = Codec(blob.btf(), section)
    raw = struct.pack("<5I", 1, 2, 3, 4, 5)
    value = coder.decode(raw)
    assert value == {"seen": 1, "seen.3": 2, "seen.2": 3, "other": 4, "seen.4": 5}
    assert coder.encode(value) == raw
    assert coder.parse(coder.format(value)) == raw
    assert array.rows(array.from_bytes(raw + raw, coder), coder) == [value, value]


@pytest.mark.parametrize("order", ["little", "big"])
def test_structs_of_a_32_bit_kernel(order: ByteOrder) -> None:
    """As the kernel's own BTF has them: pointers and longs of 4 bytes."""
    blob = Blob(order)
    long = blob.integer("long int", 4, IntEncoding.SIGNED)
    unsigned = blob.integer("long unsigned int", 4)
    pointer = blob.pointer()
    pair = blob.array(pointer, 2)
    members = [("next", pointer, 0), ("state", long, 32), ("flags", unsigned, 64)]
    struct_id = blob.struct("held", 20, [*members, ("both", pair, 96)])
    coder = Codec(blob.btf(), struct_id)
    words = (0xC0001000, -2 & 0xFFFFFFFF, 0xFFFFFFFF, 0xC0002000, 0)
    raw = b"".join(word.to_bytes(4, order) for word in words)
    value = coder.decode(raw)
    assert isinstance(value, dict)
    assert (value["state"], value["flags"]) == (-2, 0xFFFFFFFF)
    assert coder.encode(value) == raw
    assert "0xc0001000" in coder.format(value)
    assert array.rows(array.from_bytes(raw + raw, coder), coder) == [value, value]
