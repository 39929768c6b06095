# SPDX-License-Identifier: Apache-2.0
"""Packets as scapy expressions, without anything else that scapy or Python could do."""

from __future__ import annotations

import importlib.util

import pytest
from bpfctl.errors import InvalidArgument, NotSupported
from bpfctl.packets import expression
from bpfctl.packets.layers import layers

needs_scapy = pytest.mark.skipif(
    importlib.util.find_spec("scapy") is None, reason="needs scapy"
)


@needs_scapy
def test_ranges_lists_bytes_and_bare_ip() -> None:
    text = """[
        Ether()/IP(dst=['10.0.0.1', '10.0.0.2'])/TCP(dport=80),
        IPv6(dst='::1')/ICMPv6EchoRequest(), b'0123456789abcdef',
    ]"""
    one, two, ip, raw = expression.frames(text)
    assert [layers(each)[1].fields["destination"] for each in (one, two)] == [
        "10.0.0.1",
        "10.0.0.2",
    ]
    assert layers(one)[2].fields["destination port"] == "80"
    assert [layer.name for layer in layers(ip)] == ["Ethernet", "IPv6", "ICMPv6"]
    assert raw == b"0123456789abcdef"


@needs_scapy
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ether()/", "SyntaxError"),
        ("send(IP())", "NameError"),
        ("IP(dst='10.0.0.0/8')", "more than 100"),
        ("'text'", "a text is no packet"),
    ],
)
def test_what_is_no_packet(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        expression.frames(text, limit=100)


def test_without_scapy_the_way_to_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(NotSupported, match=r"pip install 'bpfd\[packets\]'"):
        expression.frames("Ether()")
