# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from bpfctl.btf import Btf, BtfValueError, Codec, Kind, array
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.bpfctl.btf.blob import Blob
from tests.unit.bpfctl.btf.shapes import codec, values


@given(values(), st.integers(0, 5))
@settings(max_examples=300)
def test_rows_and_json_are_what_decode_gives(drawn: tuple[Codec, bytes], more: int) -> None:
    coder, raw = drawn
    if not coder.size:
        assert len(array.from_bytes(raw, coder)) == 0
        return
    items = [raw, *(random.Random(index).randbytes(coder.size) for index in range(more))]
    whole = array.from_bytes(b"".join(items), coder)
    expected = [coder.decode(item) for item in items]
    assert whole.itemsize == coder.size
    assert array.rows(whole, coder) == expected
    lines = array.json_lines(whole, coder).splitlines()
    assert [json.loads(line) for line in lines] == expected


@given(values(), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32))
@settings(max_examples=300)
def test_cpus_apart_and_combined_are_what_the_codec_gives(
    drawn: tuple[Codec, bytes], cpus: int, entries: int, seed: int
) -> None:
    coder, _ = drawn
    if not coder.size:
        return
    stride = (coder.size + 7) // 8 * 8
    # Small numbers, and values of zero: sums stay within 64 bits.
    source = random.Random(seed)
    items = [
        coder.encode(bytes(source.choice((0, 0, 0, 1)) for _ in range(coder.size)))
        for _ in range(cpus * entries)
    ]
    data = b"".join(item.ljust(stride, b"\0") for item in items)
    keys, found = array.decode_dump(
        bytes(4 * entries), data, Codec.raw(4), coder, cpus=cpus, stride=stride
    )
    assert found.shape == (entries, cpus)
    step = cpus * stride
    apart = [
        coder.decode_cpus(data[at : at + step], stride) for at in range(0, len(data), step)
    ]
    assert array.rows(found, coder) == apart
    total = array.rows(found, coder, total=True)
    assert total == [coder.combine(one) for one in apart]
    lines = array.json_lines(found, coder, total=True).splitlines()
    assert [json.loads(line) for line in lines] == total
    both = array.dump_rows(keys, found, Codec.raw(4), coder)
    assert both == [{"key": 0, "value": one} for one in apart]
    lines = array.dump_json_lines(keys, found, Codec.raw(4), coder).splitlines()
    assert [json.loads(line) for line in lines] == both


def test_structs_of_the_kernel() -> None:
    path = Path("/sys/kernel/btf/vmlinux")
    if not path.exists():
        pytest.skip(f"needs {path}")
    btf = Btf.parse(path.read_bytes())
    source = random.Random(1)
    tried = 0
    for type_id in range(1, len(btf), 173):
        if btf.type(type_id).kind not in (Kind.STRUCT, Kind.UNION, Kind.TYPEDEF):
            continue
        coder = Codec(btf, type_id)
        if not 0 < coder.size < 4096:
            continue
        raw = source.randbytes(2 * coder.size)
        items = array.from_bytes(raw, coder)
        expected = [coder.decode(raw), coder.decode(raw[coder.size :])]
        assert items.dtype.itemsize == coder.size == btf.size(type_id)
        assert repr(array.rows(items, coder)) == repr(expected)
        lines = array.json_lines(items, coder).splitlines()
        assert [json.loads(line) for line in lines] == expected
        assert len(coder.parse(coder.format(expected[0]))) == coder.size
        tried += 1
    assert tried > 10


def test_dtype_has_the_layout_of_c(everything: Btf) -> None:
    coder = codec(everything, "everything")
    found = array.codec_dtype(coder)
    fields = found.fields
    assert found.itemsize == coder.size
    assert fields is not None
    native = np.dtype("<i8" if everything.byteorder == "little" else ">i8")
    assert fields["number"][0] == native
    assert fields["saddr"][0] == np.dtype(">u4")
    assert fields["dport"][0] == np.dtype(">u2")
    assert fields["d6"][0] == np.dtype(("u1", 16))
    assert fields["mac"][0] == np.dtype(("u1", 6))
    assert fields["comm"][0] == np.dtype("S16")
    assert fields["yes"][0] == np.dtype("?")
    assert fields["v4"][1] == fields["v6"][1]
    assert fields["matrix"][0].shape == (2, 3)
    assert "tail" not in fields


def test_columns_by_their_path(everything: Btf) -> None:
    coder = codec(everything, "everything")
    typed = "saddr=10.0.0.1 three=5 twelve=-7 pair[1].a=-3 matrix[1][2]=6 comm=x both.word=9"
    items = array.from_bytes(coder.parse(typed) + coder.parse("three=2"), coder)
    for path, expected in {
        "saddr": [0x0A000001, 0],
        "three": [5, 2],
        "twelve": [-7, 0],
        "pair[1].a": [-3, 0],
        "matrix[1][2]": [6, 0],
        "comm": [b"x", b""],
        "both.word": [9, 0],
    }.items():
        assert array.column(items, coder, path).tolist() == expected, path
    for path in ("nothing", "pair", "matrix[2]", "saddr.x", "pair[1]"):
        with pytest.raises(BtfValueError):
            array.column(items, coder, path)


def test_numpy_sums_of_cpus(everything: Btf) -> None:
    coder = codec(everything, "everything")
    stride = (coder.size + 7) // 8 * 8
    typed = [
        "ip=10.0.0.1 three=7 time=5 matrix[0][0]=2147483647",
        "three=7 time=9 matrix[0][0]=1",
    ]
    data = b"".join(coder.parse(text).ljust(stride, b"\0") for text in typed)
    _, found = array.decode_dump(b"", data, Codec.raw(0), coder, cpus=2, stride=stride)
    one = array.sum_cpus(found, coder)
    assert one.shape == (1,)
    assert one["three"].tolist() == [14]
    assert one["time"].tolist() == [9]
    assert one["matrix"][0][0][0] == 2**31
    assert one["ip"].tolist() == [0x0A000001]
    assert one["pair"]["a"].tolist() == [[0, 0]]


def test_arrays_are_views() -> None:
    blob = Blob()
    number = blob.integer("unsigned int", 4)
    coder = Codec(blob.btf(), number)
    keys, data = bytes(range(8)), bytearray(range(8))
    key_array, value_array = array.decode_dump(keys, memoryview(data), coder, coder)
    data[0] = 255
    assert value_array[0] == 0x030201FF
    assert not key_array.flags.owndata


def test_lengths_that_do_not_fit() -> None:
    four, eight = Codec.raw(4), Codec.raw(8)
    with pytest.raises(BtfValueError, match="7 bytes are not a whole number of u32"):
        array.from_bytes(bytes(7), four)
    with pytest.raises(BtfValueError, match="2 keys came with 1 values"):
        array.decode_dump(bytes(8), bytes(8), four, eight)
    with pytest.raises(BtfValueError, match="not values of 3 CPUs, 8 bytes each"):
        array.decode_dump(bytes(4), bytes(16), four, eight, cpus=3)
    with pytest.raises(BtfValueError, match="does not hold u64"):
        array.rows(np.zeros(1, "u4"), eight)


def test_an_empty_dump_has_no_rows(everything: Btf) -> None:
    coder = codec(everything, "everything")
    keys, found = array.decode_dump(b"", b"", coder, coder)
    assert array.rows(found, coder) == []
    assert array.dump_rows(keys, found, coder, coder) == []
    assert array.json_lines(found, coder) == b""
    _, found = array.decode_dump(b"", b"", coder, coder, cpus=2)
    assert array.rows(found, coder, total=True) == []
    assert array.json_lines(found, coder, total=True) == b""


def test_more_rows_than_are_made_at_once(everything: Btf) -> None:
    coder = codec(everything, "prefix_v4")
    count = 70_000
    data = np.zeros(count, array.codec_dtype(coder))
    data["prefixlen"] = np.arange(count) % 33
    data["address"] = np.arange(4 * count).reshape(count, 4) % 256
    found = array.rows(data, coder)
    lines = array.json_lines(data, coder).splitlines()
    assert len(found) == len(lines) == count
    for index in (0, 65_535, 65_536, count - 1):
        assert found[index] == json.loads(lines[index]) == coder.decode(data[index].tobytes())
