# SPDX-License-Identifier: Apache-2.0
"""Qdiscs and filters in the kernel's answers: messages of Linux 6.18."""

from __future__ import annotations

import sys

import pytest

from bpfd.kernel import tc_dump

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="messages of such a kernel")

INGRESS = tc_dump.INGRESS_PARENT
HEAD = "000000000200000000000000f2ffffff00030500080001006270660008000b0000000000"
FILTER = (
    "000000000200000003000000f2ffffff00030500080001006270660008000b0000000000400002001500"
    "070074635f64726f703a5b2a66736f626a5d0000000008000b005a9503000c000a00a0ff5746f6ebd362"
    "08000800010000000800090008000000"
)
OF_BLOCK = (
    "00000000ffffffff010000000700000000030900080001006270660008000b0000000000400002001600"
    "070074635f636f756e743a5b2a66736f626a5d00000008000b00599503000c000a00b9e287d994ac4119"
    "08000800010000000800090008000000"
)
CLSACT = (
    "00000000020000000000fffff1ffffff010000000b000100636c73616374000008000d00070000000400"
    "020005000c0000000000"
)
HTB = "000000000200000000000100ffffffff0300000008000100687462000400020005000c0000000000"


def test_filter() -> None:
    assert tc_dump.filter_of(bytes.fromhex(FILTER), INGRESS) == tc_dump.BpfFilter(
        parent=INGRESS,
        block=0,
        handle=3,
        priority=5,
        protocol=3,
        chain=0,
        program_id=234842,
        name="tc_drop:[*fsobj]",
        direct_action=True,
        class_id=0,
        hardware_flags=8,
    )


def test_filter_of_a_block() -> None:
    found = tc_dump.filter_of(bytes.fromhex(OF_BLOCK), INGRESS)
    assert found is not None
    assert (found.block, found.priority, found.parent) == (7, 9, INGRESS)


def test_a_line_of_the_classifier_is_no_filter() -> None:
    assert tc_dump.filter_of(bytes.fromhex(HEAD), INGRESS) is None
    other = FILTER.replace("62706600", "75333200")  # "bpf" to "u32"
    assert tc_dump.filter_of(bytes.fromhex(other), INGRESS) is None


def test_qdiscs() -> None:
    clsact = tc_dump.qdisc_of(bytes.fromhex(CLSACT))
    assert (clsact.kind, clsact.ifindex, clsact.ingress_block) == ("clsact", 2, 7)
    assert clsact.is_ingress
    assert list(tc_dump.parents(clsact)) == [INGRESS, tc_dump.EGRESS_PARENT]
    htb = tc_dump.qdisc_of(bytes.fromhex(HTB))
    assert (htb.kind, htb.handle, htb.is_ingress) == ("htb", 0x10000, False)


def test_a_qdisc_without_handle_has_no_filters() -> None:
    leaf = tc_dump.Qdisc(2, "noqueue", 0, 0xFFFFFFFF, 0, 0)
    assert not list(tc_dump.parents(leaf))
