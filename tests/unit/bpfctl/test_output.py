# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import json
from io import StringIO
from typing import Any

import pytest
import yaml
from bpfctl.output import FORMATS, Format, Output

ROWS: list[dict[str, Any]] = [
    {"id": 1, "name": "a", "key": {"port": 80, "ip": "10.0.0.1"}, "ids": [1, 2], "on": True},
    {"id": 22, "name": "[b]\nc", "key": {"port": 443, "ip": "::1"}, "ids": [], "on": False},
]


def written(format: Format, rows: list[dict[str, Any]]) -> str:
    file = StringIO()
    Output(format, file).rows(rows)
    return file.getvalue()


def streamed(format: Format, rows: list[dict[str, Any]]) -> str:
    file = StringIO()
    with Output(format, file).stream() as stream:
        for row in rows:
            stream.write(row)
    return file.getvalue()


def test_json_and_json_lines_and_yaml_carry_the_rows() -> None:
    assert json.loads(written("json", ROWS)) == ROWS
    assert [json.loads(line) for line in written("jsonl", ROWS).splitlines()] == ROWS
    assert yaml.safe_load(written("yaml", ROWS)) == ROWS


def test_csv_has_a_column_for_each_field() -> None:
    rows = list(csv.DictReader(StringIO(written("csv", ROWS))))
    assert rows[0] == {
        "id": "1",
        "name": "a",
        "key.port": "80",
        "key.ip": "10.0.0.1",
        "ids": "[1,2]",
        "on": "True",
    }
    assert rows[1]["name"] == "[b]\nc"


def test_table_is_aligned_and_one_line_a_row() -> None:
    assert written("table", ROWS).splitlines() == [
        "ID  NAME    KEY                  IDS  ON",
        "1   a       port=80 ip=10.0.0.1  1,2  yes",
        "22  [b]\\nc  port=443 ip=::1      -    no",
    ]


@pytest.mark.parametrize("format", FORMATS)
def test_streams_write_what_rows_write(format: Format) -> None:
    if format == "table":
        assert streamed(format, ROWS).split() == written(format, ROWS).split()
    else:
        assert streamed(format, ROWS) == written(format, ROWS)


def test_nothing_is_still_valid() -> None:
    assert json.loads(written("json", [])) == []
    assert yaml.safe_load(written("yaml", [])) == []
    assert written("jsonl", []) == written("table", []) == ""


def test_bytes_and_numpy_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    row = {"raw": b"\x01\xff", "number": numpy.uint64(2**64 - 1), "array": numpy.arange(2)}
    assert json.loads(written("jsonl", [row])) == {
        "raw": "01ff",
        "number": 2**64 - 1,
        "array": [0, 1],
    }


def test_record_as_table_shows_nested_rows() -> None:
    file = StringIO()
    Output("table", file).record({"name": "x", "empty": [], "maps": [{"id": 1}, {"id": 2}]})
    assert file.getvalue().splitlines() == ["name  x", "maps:", "  ID", "  1", "  2"]
