# SPDX-License-Identifier: Apache-2.0
"""Sections that the libbpf at hand may not know."""

from __future__ import annotations

import ctypes

import pytest

from bpfd.kernel import sections
from bpfd.kernel.constants import AttachType, ProgType
from tests.kernel.section_names import LIBBPF


def test_every_section_is_known_to_libbpf_or_here() -> None:
    try:
        libbpf = ctypes.CDLL("libbpf.so.1")
    except OSError:
        pytest.skip("needs libbpf.so.1")
    silent = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    quiet = silent(lambda level, form, arguments: 0)
    libbpf.libbpf_set_print.restype = ctypes.c_void_p
    before = libbpf.libbpf_set_print(quiet)
    numbers = ctypes.c_int(), ctypes.c_int()
    try:
        for section in LIBBPF:
            known = libbpf.libbpf_prog_type_by_name(
                section.encode(), *map(ctypes.byref, numbers)
            )
            here = sections.meaning(section)
            assert known == 0 or here is not None, section
            if known == 0 and here is not None and section != "sk_skb/verdict":
                assert numbers[0].value == here.type, section
    finally:
        libbpf.libbpf_set_print(ctypes.c_void_p(before))


def test_what_follows_the_name() -> None:
    found = sections.meaning("?fsession.s/vfs_read")
    assert found is not None
    assert (found.type, found.attach_type) == (ProgType.TRACING, AttachType.TRACE_FSESSION)
    assert sections.meaning("uprobe.session.s//bin/sh:main") is not None
    assert sections.meaning("fentry/vfs_read") is None


@pytest.mark.parametrize(
    ("section", "function"),
    [
        ("fsession/vfs_read", "vfs_read"),
        ("?fsession.s/vfs_read", "vfs_read"),
        ("fsession", ""),
        ("fentry/nf_conntrack:nf_ct_delete", "nf_ct_delete"),
        ("fexit.s/mod:f", "f"),
        ("fentry/vfs_read", ""),
        ("uprobe//bin/sh:main", ""),
    ],
)
def test_the_function_of_a_section(section: str, function: str) -> None:
    assert sections.function(section) == function


def test_a_name_that_an_older_libbpf_can_read() -> None:
    for name in (b"\0struct_ops.s\0", b"\0.relstruct_ops.s/init\0"):
        changed = sections.readable(name)
        assert len(changed) == len(name)
        assert b"struct_ops/" in changed
        assert sections.original(changed.decode()) == name.decode()
    for other in (b"\0struct_ops.schedule\0", b"\0struct_ops/s\0"):
        assert sections.readable(other) == other
