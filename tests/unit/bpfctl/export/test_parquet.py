# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import io
from datetime import timedelta
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bpfctl.btf import Codec
from bpfctl.errors import InvalidArgument
from bpfctl.export import columns, needed, parquet
from bpfctl.records import RecordReader
from bpfctl.where import Where
from hypothesis import given, settings

from tests.unit.bpfctl import event_records
from tests.unit.bpfctl.btf.shapes import values

ROWS: list[dict[str, Any]] = [
    {
        "ts": 2**63 + number,
        "latency": 10**6 * number,
        "delta": -number,
        "pid": number,
        "comm": f"task {number}",
        "saddr": f"10.0.0.{number % 256}",
        "daddr": "::1" if number % 2 else "192.0.2.1",
        "dport": 443,
        "state": "TCP_CLOSE" if number % 3 else 99,
        "ports": [number, 2, 3, 4],
        "in_use": bool(number % 2),
        "low": 7,
        "high": 31,
        "mac": "02:00:00:00:00:01",
        "inner": {"a": number, "from": 5},
        "ratio": 0.25,
        "skb": "0xffff888000000001",
        "blob": "hex:" + "0102" * 10,
    }
    for number in range(300)
]


@pytest.mark.parametrize("order", ["little", "big"])
def test_values_come_back_with_their_types(order: Any) -> None:
    coder = event_records.codec(order)
    reader = RecordReader(coder, order)
    file = io.BytesIO()
    with parquet.ParquetFile(file, coder, about={"bpfctl.map": "drops"}) as out:
        out.write(reader.array(event_records.batch(coder, ROWS)))
    found = pq.ParquetFile(io.BytesIO(file.getvalue()))
    schema = found.schema_arrow
    assert schema.metadata[b"bpfctl.map"] == b"drops"
    assert schema.field("ts").metadata == {b"unit": b"ns", b"clock": b"since boot"}
    assert {
        name: str(schema.field(name).type)
        for name in ("ts", "latency", "delta", "pid", "comm", "saddr", "dport", "state", "blob")
    } == {
        "ts": "uint64",
        "latency": "duration[ns]",
        "delta": "int64",
        "pid": "uint32",
        "comm": "string",
        "saddr": "string",
        "dport": "uint16",
        "state": "string",
        "blob": "fixed_size_binary[20]",
    }
    assert str(schema.field("in_use").type) == "bool"
    assert str(schema.field("low").type) == "uint8"
    assert str(schema.field("ratio").type) == "double"
    assert str(schema.field("skb").type) == "uint64"
    assert pa.types.is_struct(schema.field("inner").type)
    table = found.read().to_pylist()
    assert len(table) == 300
    row = table[7]
    assert row["ts"] == 2**63 + 7
    assert row["latency"] == timedelta(milliseconds=7)
    assert row["delta"] == -7
    assert (row["comm"], row["saddr"], row["dport"]) == ("task 7", "10.0.0.7", 443)
    assert (row["state"], table[6]["state"]) == ("TCP_CLOSE", "99")
    assert row["ports"] == [7, 2, 3, 4]
    assert (row["in_use"], row["low"], row["high"]) == (True, 7, 31)
    assert row["inner"] == {"a": 7, "from": 5}
    assert (row["skb"], row["blob"]) == (0xFFFF888000000001, b"\1\2" * 10)
    assert (row["mac"], row["daddr"], table[8]["daddr"]) == (
        "02:00:00:00:00:01",
        "::1",
        "192.0.2.1",
    )


def test_groups_bound_what_is_kept() -> None:
    coder = event_records.codec()
    reader = RecordReader(coder)
    file = io.BytesIO()
    with parquet.ParquetFile(file, coder, group_bytes=coder.size * 100) as out:
        for _ in range(5):
            out.write(reader.array(event_records.batch(coder, ROWS[:70])))
            assert out._rows < 100
    found = pq.ParquetFile(io.BytesIO(file.getvalue()))
    sizes = [found.metadata.row_group(n).num_rows for n in range(found.num_row_groups)]
    assert sizes == [100, 100, 100, 50]
    pids = found.read(["pid"])["pid"].to_pylist()
    assert pids == [*range(70)] * 5


def test_records_of_several_sizes_and_a_condition() -> None:
    coder = event_records.codec()
    reader = RecordReader(coder, where=Where("pid >= 5 and comm != 'task 6'", coder))
    batch = event_records.batch(coder, ROWS[:10], cut={9: 42, 8: 100})
    assert batch.record_size == 0
    file = io.BytesIO()
    with parquet.ParquetFile(file, coder) as out:
        out.write(reader.array(batch))
    rows = pq.read_table(io.BytesIO(file.getvalue())).to_pylist()
    assert [row["pid"] for row in rows] == [5, 7, 8, 9]
    assert [row["comm"] for row in rows] == ["task 5", "task 7", "task 8", "ta"]
    assert rows == parquet_rows(reader.rows(batch), rows)
    assert len(reader.json_lines(batch).splitlines()) == 4


def parquet_rows(rows: list[Any], like: list[Any]) -> list[Any]:
    """Rows of the command line in the types of Parquet, as far as they differ."""
    return [
        {
            **row,
            "latency": timedelta(microseconds=row["latency"] // 1000),
            "state": str(row["state"]),
            "skb": int(row["skb"], 16),
            "blob": bytes.fromhex(row["blob"][4:]),
        }
        for row in rows
    ]


def test_no_records_are_a_file_too() -> None:
    file = io.BytesIO()
    with parquet.ParquetFile(file, event_records.codec()):
        pass
    assert pq.read_table(io.BytesIO(file.getvalue())).num_rows == 0


@given(values())
@settings(max_examples=100)
def test_every_type_has_columns(drawn: tuple[Codec, bytes]) -> None:
    coder, raw = drawn
    if not coder.size or not columns._kept(coder.node):
        return
    from bpfctl.btf import array

    names = [field.name for field in getattr(coder.node, "fields", ())]
    if len(set(names)) != len(names):
        return
    file = io.BytesIO()
    with parquet.ParquetFile(file, coder) as out:
        out.write(array.from_bytes(raw * 3, coder))
    assert pq.read_table(io.BytesIO(file.getvalue())).num_rows == 3


class Full(io.RawIOBase):
    """A disk with room for some bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(data)
        return len(data)


@pytest.mark.parametrize("room", [4, 1000, 20_000])
def test_a_full_disk_is_an_error_of_the_disk(room: int) -> None:
    coder = event_records.codec()
    array = RecordReader(coder).array(event_records.batch(coder, ROWS))

    def fill() -> None:
        with parquet.ParquetFile(
            cast("BinaryIO", Full(room)), coder, group_bytes=16_000
        ) as out:
            for _ in range(20):
                out.write(array)

    with pytest.raises(OSError, match="No space left") as raised:
        fill()
    assert raised.value.errno == errno.ENOSPC


def test_what_to_install_is_said() -> None:
    with pytest.raises(InvalidArgument, match=r"no_such.*pip install 'bpfd\[client,export\]'"):
        needed("no_such.module", "parquet")
