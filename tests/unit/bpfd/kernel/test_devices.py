# SPDX-License-Identifier: Apache-2.0
"""Interfaces in the kernel's answers: messages of Linux 6.18, attributes left out."""

from __future__ import annotations

import struct
import sys

import pytest

from bpfd.kernel.devices import Device, device_of
from bpfd.kernel.interface import XdpState
from bpfd.kernel.rtnetlink import attribute

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="messages of such a kernel")

LOOPBACK = (
    "00000403010000004900010000000000070003006c6f000008000d00e8030000"
    "1c002b00080006005895030005000200020000000800040058950300"
)
VETH = (
    "0000010002000000431001000000000008000300686b300008000d00e8030000"
    "1c002b000800050057950300050002000100000008000400579503001000120009000100766574680000"
    "0000"
)


def test_generic_and_native() -> None:
    assert device_of(bytes.fromhex(LOOPBACK)) == Device(1, "lo", "", XdpState(0, 234840, 0))
    assert device_of(bytes.fromhex(VETH)) == Device(2, "hk0", "veth", XdpState(234839, 0, 0))


def xdp(*inner: bytes) -> bytes:
    head = struct.pack("=BxHiII", 0, 1, 7, 0, 0)
    return head + attribute(3, b"eth0\0") + attribute(43, b"".join(inner))


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def test_several_at_once() -> None:
    message = xdp(attribute(2, b"\4"), number(6, 21), number(5, 20), number(7, 22))
    assert device_of(message).xdp == XdpState(native=20, generic=21, offload=22)


def test_before_programs_of_each_mode_were_told() -> None:
    assert device_of(xdp(attribute(2, b"\2"), number(4, 9))).xdp == XdpState(0, 9, 0)
    assert device_of(xdp(attribute(2, b"\0"))).xdp == XdpState(0, 0, 0)
