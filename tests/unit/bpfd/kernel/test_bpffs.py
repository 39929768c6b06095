# SPDX-License-Identifier: Apache-2.0
"""Names of pins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bpfd.kernel import bpffs

NAMES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))


@given(NAMES)
def test_names_come_back(name: str) -> None:
    assert bpffs.decode(bpffs.encode(name)) == name


@given(NAMES)
def test_bpffs_takes_every_name(name: str) -> None:
    assert not set("./") & set(bpffs.encode(name))


def test_plain_names_stay() -> None:
    assert bpffs.encode("tcp_life-2") == "tcp_life-2"
    assert bpffs.encode(".rodata") == "=2Erodata"
