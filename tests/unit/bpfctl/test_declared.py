# SPDX-License-Identifier: Apache-2.0
"""Types of maps as a source declares them."""

from __future__ import annotations

import pytest
from bpfctl import declared
from bpfctl.btf import Btf, Codec
from bpfctl.elf import ObjectFile

from bpfd.v1 import common_pb2
from tests.clang import CLANG
from tests.kernel import clang

pytestmark = pytest.mark.skipif(not CLANG, reason="needs clang")


@pytest.fixture(scope="module")
def btf() -> Btf:
    return Btf.parse(ObjectFile.parse(clang.compiled("map_types")).btf)


def info(kind: str, **fields: str) -> common_pb2.KernelMap:
    number = common_pb2.MapType.Value(f"MAP_TYPE_{kind.upper()}")
    return common_pb2.KernelMap(type=number, **fields)  # type: ignore[arg-type]


def test_values_of_queues_are_typed(btf: Btf) -> None:
    found = declared.type_id(btf, info("queue", member="mt_queue"), "value")
    assert Codec(btf, found).fields == ("id", "port", "unused", "name")
    assert declared.type_id(btf, info("queue", member="mt_queue"), "key") == 0
    assert declared.type_id(btf, info("queue", member="nothing"), "value") == 0


def test_names_that_the_kernel_cut_are_found(btf: Btf) -> None:
    whole = declared.type_id(btf, info("hash_of_maps", member="mt_outer_hash"), "key")
    assert Codec(btf, whole).size == 4
    assert declared.type_id(btf, info("hash_of_maps", name="mt_outer_hash"), "key") == whole
    # Another map's first 15 bytes are not taken for a whole name.
    assert declared.type_id(btf, info("hash_of_maps", member="mt_outer"), "nothing") == 0


def test_only_what_the_kernel_does_not_keep_is_looked_for() -> None:
    assert declared.asks(info("queue"), "value")
    assert declared.asks(info("sockhash"), "key")
    assert not declared.asks(info("hash"), "key")
    assert not declared.asks(info("sockhash"), "value")
