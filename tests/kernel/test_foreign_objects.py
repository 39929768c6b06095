# SPDX-License-Identifier: Apache-2.0
"""What objects of other people hold, listed and dumped as `bpftool -j` does, and what is
wrong with them when they are refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.clang import clang, compiled
from tests.kernel.command_line import CommandLine

pytestmark = pytest.mark.skipif(not clang(), reason="needs clang")

FIELDS = ("id", "type", "name", "flags", "bytes_key", "bytes_value", "max_entries")


def rows(bpfctl: CommandLine, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(bpfctl.run(*arguments, "-o", "json").ok())
    return found


def bpftool(*arguments: str) -> Any:
    done = subprocess.run(["bpftool", "-j", *arguments], check=True, capture_output=True)
    return json.loads(done.stdout)


def load(bpfctl: CommandLine, *defines: str) -> dict[str, dict[str, Any]]:
    """Loads the object; its maps by name."""
    path = written(bpfctl, *defines)
    bpfctl.run("load", path, "--name", "foreign").ok()
    return {
        entry["member"]: entry
        for entry in rows(bpfctl, "map", "list")
        if entry.get("object") == "foreign"
    }


def written(bpfctl: CommandLine, *defines: str) -> Path:
    path = bpfctl.folder / "foreign.o"
    path.write_bytes(compiled("foreign", *defines))
    return path


def test_maps_of_programs_and_of_maps(bpfctl: CommandLine) -> None:
    maps = load(bpfctl)
    for ours in maps.values():
        theirs = bpftool("map", "show", "id", str(ours["id"]))
        # Who holds and pins a map is told by other bpftools, or only when asked.
        assert {name: ours.get(name) for name in theirs if name not in ("pids", "pinned")} == {
            name: value for name, value in theirs.items() if name not in ("pids", "pinned")
        }
        assert all(name in theirs for name in FIELDS)
    array = maps["fo_programs"]
    assert (array["owner_prog_type"], array["owner_jited"]) == ("socket_filter", True)
    assert "owner_prog_type" not in maps["fo_calls"]
    first = {entry["name"]: entry["id"] for entry in rows(bpfctl, "program", "list")}
    assert rows(bpfctl, "map", "dump", "foreign/fo_programs") == [
        {"key": 2, "value": first["for_first"], "name": "foreign/for_first"}
    ]
    assert rows(bpfctl, "map", "dump", "foreign/fo_outer") == [
        {"key": 0, "value": maps["fo_calls"]["id"], "name": "foreign/fo_calls"}
    ]
    bpfctl.run("unload", "foreign").ok()


def test_static_variables_of_functions(bpfctl: CommandLine) -> None:
    load(bpfctl)
    value = {"for_first.seen": {"a": 0, "b": 0}, "calls_second.seen": 0}
    assert rows(bpfctl, "map", "dump", "foreign/.bss") == [{"key": 0, "value": value}]
    value["for_first.seen"] = {"a": 1, "b": -2}
    line = json.dumps({"key": 0, "value": value})
    bpfctl.run("map", "set", "foreign/.bss", "--from", "-", typed=line).ok()
    assert rows(bpfctl, "map", "dump", "foreign/.bss") == [{"key": 0, "value": value}]
    typed = "calls_second.seen=7 for_first.seen.b=3"
    bpfctl.run("map", "set", "foreign/.bss", "0", typed).ok()
    value = {"for_first.seen": {"a": 0, "b": 3}, "calls_second.seen": 7}
    assert rows(bpfctl, "map", "dump", "foreign/.bss") == [{"key": 0, "value": value}]
    bpfctl.run("unload", "foreign").ok()


def test_struct_ops_are_dumped_by_the_types_of_the_kernel(bpfctl: CommandLine) -> None:
    maps = load(bpfctl, "STRUCT_OPS")
    number = str(maps["fo_congestion"]["id"])
    (theirs,) = bpftool("map", "dump", "id", number)
    (ours,) = rows(bpfctl, "map", "dump", number, "--plain")
    assert ours == {"key": 0, "value": theirs["formatted"]["value"]}
    states = ("BPF_STRUCT_OPS_STATE_INIT", "BPF_STRUCT_OPS_STATE_READY")  # that of links
    assert ours["value"]["common"]["state"] in states
    bpfctl.run("unload", "foreign").ok()


@pytest.mark.parametrize(
    ("define", "says"),
    [
        ("NO_ENTRIES", ["map fo_unsized", "max_entries", "--map-size fo_unsized="]),
        ("NO_INNER", ["map fo_outline", "what maps it holds", "__array(values"]),
        ("NO_VALUE", ["map fo_valueless", "value_size", "declare"]),
        ("WRONG_FLAGS", ["map fo_flags", "an array", "flags 0x1"]),
        ("KFUNC", ["function 'no_function_of_any_kernel'", "__weak"]),
        ("KSYM", ["'no_variable_of_any_kernel'", "__weak"]),
        ("NO_TARGET", ["'no_tracepoint_of_any_kernel'", "--no-program traces_nothing"]),
        ("FREPLACE", ["replaces_function", "--function", "--no-program"]),
    ],
)
def test_what_an_object_lacks_is_named(
    bpfctl: CommandLine, define: str, says: list[str]
) -> None:
    said = bpfctl.run("load", written(bpfctl, define)).refused(2, *says)
    assert "failed to load object" not in said


def test_the_size_that_an_object_leaves_open_is_given(bpfctl: CommandLine) -> None:
    path = written(bpfctl, "NO_ENTRIES")
    bpfctl.run("load", path, "--name", "foreign", "--map-size", "fo_unsized=16").ok()
    (entry,) = (row for row in rows(bpfctl, "map", "list") if row["name"] == "fo_unsized")
    assert entry["max_entries"] == 16
    bpfctl.run("unload", "foreign").ok()


def test_stacks_are_as_deep_as_the_kernel_makes_them(bpfctl: CommandLine) -> None:
    bpfctl.run("load", written(bpfctl, "NO_DEPTH"), "--name", "foreign").ok()
    (entry,) = (row for row in rows(bpfctl, "map", "list") if row["name"] == "fo_stacks")
    assert entry["bytes_value"] == 127 * 8
    bpfctl.run("unload", "foreign").ok()


def test_a_program_of_a_type_that_the_kernel_refuses(bpfctl: CommandLine) -> None:
    path = written(bpfctl, "FENTRY")
    done = bpfctl.run("load", path, "--name", "foreign")
    if done.code == 0:
        pytest.skip("this kernel loads fentry programs")
    done.refused(7, "fentry", "traces_reads", "--no-program traces_reads")
    bpfctl.run("load", path, "--name", "foreign", "--no-program", "traces_reads").ok()
    bpfctl.run("unload", "foreign").ok()


def test_programs_that_load_on_request_are_named(bpfctl: CommandLine) -> None:
    path = written(bpfctl)
    said = bpfctl.run("load", path, "--name", "foreign").ok()
    assert "not loaded, as their sections say: on_request (see --program)" in said
    bpfctl.run("unload", "foreign").ok()
    said = bpfctl.run("load", path, "--name", "foreign", "--program", "on_request").ok()
    assert "program on_request (id" in said
    assert "not loaded" not in said
    bpfctl.run("unload", "foreign").ok()
