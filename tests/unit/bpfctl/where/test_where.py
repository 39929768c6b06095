# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from bpfctl.btf import Codec
from bpfctl.btf.array import from_bytes
from bpfctl.errors import InvalidArgument
from bpfctl.where import MAX_CHARACTERS, Where
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.bpfctl import event_records

LITTLE, BIG = event_records.codec("little"), event_records.codec("big")

ROW: dict[str, Any] = {
    "ts": 5 * 10**9,
    "latency": 12_000_000,
    "delta": -3,
    "wait_us": 1500,
    "pid": 4242,
    "tid": 4243,
    "comm": "curl",
    "saddr": "10.1.2.3",
    "dport": 443,
    "class": 7,
    "daddr": "2001:db8::5",
    "state": "TCP_CLOSE",
    "ports": [80, 443, 0, 65535],
    "in_use": True,
    "low": 5,
    "high": 17,
    "mac": "02:00:00:00:00:01",
    "inner": {"a": 9, "from": 3},
    "ratio": 0.5,
    "skb": "0xffff888000000001",
}
OTHER: dict[str, Any] = {"comm": "curlew", "latency": 1, "daddr": "192.0.2.1"}

HOLDS = [
    'dport == 443 and comm == "curl"',
    "dport == 443 && !(pid == 1) || false",
    "comm == 'curl' and not dport != 443",
    'comm != "cur" and comm < "curlew" and comm >= "curl"',
    'comm in ("wget", "curl")',
    '"url" in comm and "x" not in comm',
    "saddr == 10.0.0.0/8 and saddr in (192.168.0.0/16, 10.1.2.3)",
    "saddr in 10.1.0.0/16 and saddr != 10.1.2.4 and saddr not in 11.0.0.0/8",
    'saddr == "10.1.2.3"',
    "daddr == 2001:db8::/32 and daddr != ::1 and daddr == 2001:db8::5",
    'daddr == "2001:db8::/33"',
    "state == TCP_CLOSE and state != TCP_ESTABLISHED and state >= TCP_SYN_SENT",
    'state in (TCP_SYN_SENT, TCP_CLOSE) and state == "TCP_CLOSE" and state == 7',
    "latency > 10ms and latency <= 0.012s and latency == 12000us",
    "wait_us > 1ms and wait_us < 1501us and wait_us == 1.5ms and wait_us < 1500500ns",
    "ts > 4s and ts < 1m",
    "delta < 0 and delta == -3 and -delta == 3 and delta + 4 == 1 and ~delta == 2",
    "pid - tid == -1 and tid - pid == 1",
    "ports[0] == 80 and 443 in ports and 81 not in ports and ports[3] == 0xffff",
    "in_use and in_use == true and not in_use == false",
    "low == 5 and high == 17 and low + high == 22",
    "mac == 02:00:00:00:00:01 and mac != 02-00-00-00-00-02",
    'mac == "02:00:00:00:00:01"',
    "inner.a == 9 and inner.from == 3 and class == 7",
    "ratio == 0.5 and ratio < 1 and ratio > 1e-3 and pid / 2 == 2121",
    "skb == 0xffff888000000001 and skb > 0xffff000000000000 and skb & 1",
    "1 <= low < 6 <= high",
    "pid in [1, 2, 4_242]",
    "dport & 0x1ff == 0x1bb and dport | 1 == 443 and dport ^ 443 == 0 and dport >> 1 == 221",
    "pid % 100 == 42 and pid // 100 == 42 and pid << 1 == 8484 and pid * 2 - 8484 == 0",
    "(((pid)))",
    "comm",
    "saddr and daddr and mac",
    "dport < 18446744073709551615 and delta < 99999999999999999999999 and dport != -1",
    "443 == dport",
    "10.1.2.3 == saddr",
]


@pytest.mark.parametrize("coder", [LITTLE, BIG], ids=["little", "big"])
@pytest.mark.parametrize("text", HOLDS)
def test_what_holds_holds_in_both_byte_orders(coder: Codec, text: str) -> None:
    array = from_bytes(coder.encode(ROW), coder)
    assert Where(text, coder).mask(array).tolist() == [True]
    assert Where(f"not ({text})", coder).mask(array).tolist() == [False]


def test_only_those_that_fulfil_it_are_taken() -> None:
    array = from_bytes(LITTLE.encode(ROW) + LITTLE.encode(OTHER) + LITTLE.encode(ROW), LITTLE)
    assert Where('comm == "curl"', LITTLE).mask(array).tolist() == [True, False, True]
    assert Where('"curl" in comm', LITTLE).mask(array).tolist() == [True] * 3
    assert Where("daddr == 192.0.2.0/24", LITTLE).mask(array).tolist() == [False, True, False]
    assert len(Where("latency >= 12ms", LITTLE).select(array)) == 2
    assert Where("true", LITTLE).select(array) is array
    assert len(Where("false", LITTLE).select(array)) == 0
    assert len(Where('comm == "curl"', LITTLE).mask(array[:0])) == 0


def test_text_ends_at_the_first_nul() -> None:
    raw = bytearray(LITTLE.encode(ROW))
    raw[40:56] = b"curl\0garbage\0\0\0\0"
    array = from_bytes(bytes(raw), LITTLE)
    for text in ('comm == "curl"', 'comm <= "curl"', '"garb" not in comm'):
        assert Where(text, LITTLE).mask(array).all(), text
    raw[40:56] = b"0123456789abcdef"
    array = from_bytes(bytes(raw), LITTLE)
    assert Where('comm == "0123456789abcdef"', LITTLE).mask(array).all()
    assert not Where('comm == "0123456789abcdef0"', LITTLE).mask(array).any()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dprt == 443", ["no field 'dprt'", "did you mean dport", "saddr, dport"]),
        ("comm == curl", ["no field 'curl'", 'in quotes: "curl"']),
        ("inner.b == 1", ["inner has no field 'b'", "a, from"]),
        ("inner == 1", ["inner (struct inner)", "inner.a, inner.from"]),
        ("ports == 1", ["ports[0] to ports[3]"]),
        ("ports[4] == 1", ["elements 0 to 3"]),
        ("ports[pid] == 1", ["elements 0 to 3"]),
        ("pid[0] == 1", ["pid (__u32) is no array"]),
        ("pid.x == 1", ["pid (__u32) has no field x"]),
        ("state == TCP_CLOSED", ["TCP_CLOSED", "did you mean TCP_CLOSE"]),
        ('dport == "https"', ["is no number"]),
        ("comm == 5", ["comm", "is a text"]),
        ("dport = 443", ["write == to compare"]),
        ("dport ==", ["the end was not expected"]),
        ("dport == 443)", ["')' at character 13"]),
        ("(dport == 443", ["was not expected"]),
        ("dport == 443 and and pid", ["'and pid' at character 18"]),
        ("", ["empty"]),
        ('comm == "curl', ["does not end", "character 9"]),
        ("dport == 443;", ["';' at character 13"]),
        ("saddr < 10.0.0.0/8", ["==, != and in"]),
        ("saddr == 300.0.0.1", ["300.0.0.1"]),
        ("saddr == 10.0.0.0/33", ["10.0.0.0/33"]),
        ("saddr == ::1", ["no IPv6 address"]),
        ("comm == 10.0.0.1", ["no IPv4 address"]),
        ("dport == 10.0.0.1", ["no IPv4 address"]),
        ("mac == 10.0.0.1", ["no IPv4 address"]),
        ("pid == 02:00:00:00:00:01", ["no MAC address"]),
        ("__import__('os')", ["functions cannot be called"]),
        ("pid.__class__ == 1", ["has no field __class__"]),
        ("ports[0].real", ["has no field real"]),
        ("pid if pid else pid", ["was not expected"]),
        ("lambda", ["no field 'lambda'"]),
        ("[1, 2] == pid", ["no part of a condition"]),
        ("pid == [1, 2]", ["behind `in` only"]),
        ("pid in ()", ["empty"]),
        ("pid in dport", ["write it as a list"]),
        ("pid is 1", ["was not expected"]),
        ("1 < pid ** 2 < 5", ["'pid ** 2' is no part"]),
        ('"x" < comm < 5', ["is a text"]),
        ('"abc"', ["no condition"]),
        ("comm == saddr", ["cannot be compared"]),
        ("ratio & 1 == 1", ["whole numbers"]),
        ("(" * 300 + "pid" + ")" * 300, ["nested"]),
        ("not " * 300 + "pid", ["nested"]),
        ("pid == " + "9" * 100, ["too large"]),
        ("pid " * MAX_CHARACTERS, [str(MAX_CHARACTERS)]),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(text: str, words: list[str]) -> None:
    array = from_bytes(LITTLE.encode(ROW), LITTLE)
    with pytest.raises(InvalidArgument) as raised:
        Where(text, LITTLE).mask(array)
    assert raised.value.field == "where"
    for word in words:
        assert word in str(raised.value)


def test_records_that_are_one_number_have_a_value() -> None:
    coder = Codec.raw(8)
    array = from_bytes(np.arange(5, dtype="<u8").tobytes(), coder)
    assert Where("value >= 3", coder).mask(array).tolist() == [False, False, False, True, True]
    with pytest.raises(InvalidArgument, match="value"):
        Where("number > 1", coder)


NUMBERS = ["latency", "delta", "pid", "dport", "low", "wait_us", "inner.from", "ports[1]"]


@given(
    st.sampled_from(NUMBERS),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.sampled_from(NUMBERS),
    st.integers(-(2**70), 2**70),
    st.integers(0, 2**32),
)
@settings(max_examples=150)
def test_comparisons_are_those_of_whole_numbers(
    left: str, sign: str, right: str, number: int, seed: int
) -> None:
    """Signed and unsigned of all sizes, without rounding, as Python compares them."""
    source = random.Random(seed)
    raw = source.randbytes(LITTLE.size * 3) + bytes(LITTLE.size) + b"\xff" * LITTLE.size
    array = from_bytes(raw, LITTLE)
    rows = [LITTLE.decode(raw[at : at + LITTLE.size]) for at in range(0, len(raw), LITTLE.size)]
    names = {"inner.from": "inner_from", "ports[1]": "ports_1"}

    def expected(text: str) -> list[bool]:
        for name, plain in names.items():
            text = text.replace(name, plain)
        return [
            bool(
                eval(
                    text,
                    {**row, "inner_from": row["inner"]["from"], "ports_1": row["ports"][1]},
                )
            )
            for row in rows
        ]

    for text in (f"{left} {sign} {right}", f"{left} {sign} {number}"):
        assert Where(text, LITTLE).mask(array).tolist() == expected(text), text
