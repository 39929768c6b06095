# SPDX-License-Identifier: Apache-2.0
"""Keys and values of the wrong type, range or length, and maps that are full."""

from __future__ import annotations

import json
from collections.abc import Iterator

import grpc
import pytest

from bpfd.v1 import maps_pb2
from tests.kernel.api import Api, map_ref, refused
from tests.kernel.clang import clang, compiled
from tests.kernel.command_line import CommandLine

pytestmark = pytest.mark.skipif(not clang(), reason="needs clang")

STRUCTS = "values/val_structs"
SIGNED = "values/val_signed"
PREFIXES = "values/val_prefixes"
EACH_CPU = "values/val_percpu"
MANY = "values/val_many"


@pytest.fixture
def values(bpfctl: CommandLine) -> Iterator[CommandLine]:
    """Maps of narrow types are loaded as `values`; empty they are in the end, too."""
    (bpfctl.folder / "values.o").write_bytes(compiled("values"))
    bpfctl.run("load", "values.o").ok()
    yield bpfctl
    bpfctl.run("unload", "values").ok()


def entries(line: CommandLine, name: str) -> list[object]:
    """Everything in a map."""
    out = line.run("map", "dump", name, "-o", "jsonl").ok()
    return [json.loads(each) for each in out.splitlines()]


WRONG = [
    (STRUCTS, "red", "small=1", "key: 'red' is not a value of __u32"),
    (STRUCTS, "-1", "small=1", "key: -1 does not fit into __u32, which takes 0 to 4294967295"),
    (STRUCTS, "4294967296", "small=1", "does not fit into __u32"),
    (
        STRUCTS,
        "1",
        "small=256",
        "value.small: 256 does not fit into __u8, which takes 0 to 255",
    ),
    (STRUCTS, "1", "signed_=-32769", "which takes -32768 to 32767"),
    (STRUCTS, "1", "color=BLUE", "RED, GREEN"),
    (STRUCTS, "1", "name=123456789", "char[8] takes 8"),
    (STRUCTS, "1", "address=10.0.0.256", "an IPv4 address such as"),
    (STRUCTS, "1", "mac=aa:bb", "a MAC address such as"),
    (STRUCTS, "1", "tiny=1", "it has small, signed_, color, name, address, mac"),
    (STRUCTS, "1", "small=1 small=2", "given twice"),
    (STRUCTS, "1", "5", "field=value is due"),
    (STRUCTS, "1", "small={", "brackets"),
    (SIGNED, "2147483648", "1", "which takes -2147483648 to 2147483647"),
    (SIGNED, "1", "9223372036854775808", "does not fit into __s64"),
    (SIGNED, "1", "1.5", "a number from"),
    (SIGNED, "1", "", "a number from"),
    (SIGNED, "1", "0x", "a number from"),
    (PREFIXES, "10.0.0.0/33", "1", "/33 is longer than the address"),
    (PREFIXES, "10.0.0.0/-1", "1", "an IPv4 prefix such as"),
    (PREFIXES, "2001:db8::/32", "1", "an IPv4 prefix such as"),
    (EACH_CPU, "1", "1", "index 1 is beyond the last one"),
    (EACH_CPU, "0", "[1,2]", "a number from"),
    (MANY, "abc", "1", "16 bytes"),
]


def test_values_that_do_not_fit(values: CommandLine) -> None:
    for name, key, value, says in WRONG:
        values.run("map", "set", name, key, value).refused(2, says)
    assert (
        entries(values, STRUCTS) == entries(values, SIGNED) == entries(values, PREFIXES) == []
    )
    assert entries(values, EACH_CPU) == [{"key": 0, "value": 0}]


def test_negative_numbers_are_no_options(values: CommandLine) -> None:
    values.run("map", "set", SIGNED, "-5", "-9").ok()
    assert values.run("map", "get", SIGNED, "-5").ok().strip() == "-9"
    values.run("map", "delete", SIGNED, "-5").ok()
    values.run("map", "delete", SIGNED, "-5").refused(4, "'-5'", SIGNED)
    values.run("map", "get", SIGNED, "-5").refused(4, "'-5'", SIGNED)
    values.run("map", "get", SIGNED, "--plian", "5").refused(2, "--plian")


def test_entries_that_must_or_must_not_be_there(values: CommandLine) -> None:
    values.run("map", "set", SIGNED, "1", "1", "--replace").refused(4, "val_signed")
    values.run("map", "set", SIGNED, "1", "1", "--create").ok()
    values.run("map", "set", SIGNED, "1", "2", "--create").refused(2, "exists")
    assert entries(values, SIGNED) == [{"key": 1, "value": 1}]
    values.run("map", "delete", EACH_CPU, "0").refused(2, "write zeros")


@pytest.mark.parametrize("batch", [True, False], ids=["batch", "one by one"])
def test_a_full_map(values: CommandLine, batch: bool) -> None:
    """What fitted is there, and the error says how much that is."""
    if batch:
        lines = (json.dumps({"key": number, "value": -number}) for number in range(1, 41))
        done = values.run("map", "set", SIGNED, "--from", "-", typed="\n".join(lines))
        done.refused(8, "val_signed is limited to 16; 16 were done before", "max_entries")
        number = 16
    else:
        for number in range(1, 5):
            values.run("map", "set", STRUCTS, str(number), f"small={number}").ok()
        done = values.run("map", "set", STRUCTS, "5", "small=5")
        done.refused(8, "val_structs is limited to 4", "delete entries")
        values.run("map", "set", STRUCTS, "4", "small=44").ok()
    found = entries(values, SIGNED if batch else STRUCTS)
    keys = [item["key"] for item in found]  # type: ignore[index]
    assert sorted(keys) == list(range(1, number + 1))


def test_files_of_entries_that_are_damaged(values: CommandLine) -> None:
    for text, says in (
        ("nonsense\n", "line 1"),
        ('{"key": 1, "value": 1}\n{"key": 2}\n', "line 2"),
        ('{"key": 1, "value": 1}\n[1, 2]\n', "line 2"),
        ('{"key": 1, "value": 1}\n{"key": "red", "value": 2}\n', "'red'"),
        ('{"key": 1, "value": {"small": 1}}\n', "value"),
        ('{"key": 1, "value": 1', "line 1"),
    ):
        values.run("map", "set", SIGNED, "--from", "-", typed=text).refused(2, says)
        assert entries(values, SIGNED) == []
    (values.folder / "noise").write_bytes(b"\xff\xfe\x00\x80\n")
    values.run("map", "set", SIGNED, "--from", "noise").refused(2, "line 1")
    done = values.run("map", "set", SIGNED, "--from", "nowhere")
    done.refused(2, "nowhere", context=True)


def test_maps_that_are_not_there_or_of_another_kind(values: CommandLine) -> None:
    values.run("map", "dump", "nobody").refused(4, "'nobody'", "map list")
    values.run("map", "dump", "values/nobody").refused(4, "nobody", "val_signed")
    values.run("map", "dump", "4294967294").refused(4, "4294967294")
    values.run("map", "dump", "99999999999").refused(2, "kernel id")
    values.run("map", "get", "/sys/fs/bpf/nothing", "1").refused(4, "/sys/fs/bpf/nothing")
    values.run("map", "get", "/etc/passwd", "1").refused(2, "/etc/passwd")
    done = values.run("events", SIGNED)
    assert done.code == 2
    assert "ring buffers" in done.err
    assert "Traceback" not in done.err


def test_raw_lengths_that_do_not_fit(values: CommandLine, channel: grpc.Channel) -> None:
    """Past the client's own checks; nothing of such a request is done."""
    api, ref = Api(channel), map_ref(SIGNED)
    for keys, data in (
        (b"123", bytes(8)),
        (bytes(4), b"1234567"),
        (bytes(8), bytes(8)),
        (b"", b""),
    ):
        with refused("invalid_argument"):
            api.maps.Update(maps_pb2.UpdateRequest(map=ref, keys=keys, values=data))
    for keys in (b"", b"12345", bytes(4 << 20)[:-1]):
        with refused("invalid_argument"):
            api.maps.Lookup(maps_pb2.LookupRequest(map=ref, keys=keys))
        with refused("invalid_argument"):
            api.maps.Delete(maps_pb2.DeleteRequest(map=ref, keys=keys))
    with refused("invalid_argument"):
        mode = 77
        api.maps.Update(
            maps_pb2.UpdateRequest(
                map=ref,
                keys=bytes(4),
                values=bytes(8),
                mode=mode,  # type: ignore[arg-type]
            )
        )
    too_long = maps_pb2.UpdateRequest(
        map=map_ref(PREFIXES), keys=b"\x21" + bytes(7), values=bytes(4)
    )
    with refused("invalid_argument"):
        api.maps.Update(too_long)
    assert entries(values, SIGNED) == entries(values, PREFIXES) == []
