# SPDX-License-Identifier: Apache-2.0
"""Whether an object fits, asked of this kernel: what `preflight` says is what it does."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from bpfd.v1 import target_pb2, target_pb2_grpc
from tests.kernel import cli_support
from tests.kernel.cli_support import SOURCE, Cli, needs_clang
from tests.kernel.conftest import RunningDaemon

HEAD = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Cli:
    return cli_support.make(daemon, tmp_path)


@pytest.fixture
def owned_names() -> set[str]:
    return {"pf_first", "pf_second", "pf_third", "pf_map"}


def report(cli: Cli, body: str, *arguments: str, code: int = 0) -> Any:
    """The one report on a program, with its needs by name."""
    (cli.folder / "pf.bpf.c").write_text(HEAD + body)
    done = cli.try_("preflight", "pf.bpf.c", *arguments, "-o", "json")
    assert done.returncode == code, done.stderr + done.stdout
    (row,) = json.loads(done.stdout)
    row["by_name"] = {need["need"]: need for need in row["needs"]}
    row["by_program"] = {load["program"]: load for load in row["programs"]}
    return row


def features(cli: Cli) -> dict[str, bool]:
    row = cli.json("target", "info")
    return {entry["feature"]: entry["supported"] for entry in row["features"]}


@needs_clang
def test_a_ring_buffer_object_fits(cli: Cli) -> None:
    (row,) = cli.json("preflight", str(SOURCE))
    assert row["fit"] == "fits"
    assert {need["state"] for need in row["needs"]} == {"met"}
    names = {need["need"]: need for need in row["needs"]}
    assert names["ringbuf"]["since"] == "5.8"
    assert names["bpf_ringbuf_reserve (tracing)"]["programs"] == ["on_enter"]
    assert [(load["program"], load["accepted"]) for load in row["programs"]] == [
        ("on_enter", True)
    ]
    assert cli.json("object", "list") == []


@needs_clang
def test_hooks_that_the_kernel_lacks(cli: Cli) -> None:
    known = features(cli)
    body = """
    SEC("fentry/tcp_v4_connect") int BPF_PROG(pf_first) { return 0; }
    SEC("kprobe/tcp_v4_connect") int BPF_KPROBE(pf_second) { return 0; }
    """
    fits = known["fentry"] and known["kprobe"]
    row = report(cli, body, code=0 if fits else 7)
    assert row["fit"] == ("fits" if fits else "does not fit")
    fentry, kprobe = row["by_name"]["fentry"], row["by_name"]["kprobe"]
    assert (fentry["state"] == "met") == known["fentry"]
    assert (kprobe["state"] == "met") == known["kprobe"]
    assert (fentry["since"], kprobe["since"]) == ("5.5", "4.17")
    assert row["by_name"]["tcp_v4_connect"]["state"] == "met"
    # A kprobe can be loaded where none can be attached.
    assert row["by_program"]["pf_second"]["accepted"]
    assert row["by_program"]["pf_first"]["accepted"] == known["fentry"]
    if not known["fentry"]:
        assert "CONFIG_FUNCTION_TRACER" in fentry["helps"]
        assert "fentry, fexit and fmod_ret" in row["by_program"]["pf_first"]["why"]
        works = "kprobe" if known["kprobe"] else "tp_btf"
        assert fentry["helps"].startswith(f'works here: SEC("{works}/')


@needs_clang
def test_a_field_that_is_missing(cli: Cli) -> None:
    body = """
    struct sock___old { int long_gone; } __attribute__((preserve_access_index));
    SEC("tp_btf/sys_enter") int BPF_PROG(pf_first)
    {
        struct sock___old *sock = (void *)bpf_get_current_task();
        return BPF_CORE_READ(sock, long_gone);
    }
    SEC("tp_btf/sys_enter") int BPF_PROG(pf_second) { return 0; }
    """
    row = report(cli, body, code=7)
    field = row["by_name"]["struct sock.long_gone"]
    assert (field["state"], field["programs"]) == ("missing", ["pf_first"])
    assert "no long_gone there" in field["probe"]
    assert "bpf_core_field_exists()" in row["by_program"]["pf_first"]["why"]
    # One program's refusal does not hide that the other is taken.
    assert row["by_program"]["pf_second"]["accepted"]
    left_out = report(cli, body, "--no-program", "pf_first")
    assert left_out["fit"] == "fits"


@needs_clang
def test_what_the_program_looks_for_itself(cli: Cli) -> None:
    body = """
    struct sock___old { int long_gone; } __attribute__((preserve_access_index));
    extern int bpf_never_was(int) __ksym __weak;
    SEC("tp_btf/sys_enter") int BPF_PROG(pf_first)
    {
        struct sock___old *sock = (void *)bpf_get_current_task();
        if (bpf_core_field_exists(sock->long_gone))
            return BPF_CORE_READ(sock, long_gone);
        return bpf_never_was ? bpf_never_was(1) : 0;
    }
    """
    row = report(cli, body)
    assert row["fit"] == "fits"
    assert row["by_name"]["struct sock.long_gone"]["state"] == "checked by the program"
    assert row["by_name"]["bpf_never_was"]["state"] == "checked by the program"


@needs_clang
def test_names_that_are_nearly_right(cli: Cli) -> None:
    body = """
    SEC("tp/sched/sched_swich") int pf_first(void *ctx) { return 0; }
    SEC("kprobe/tcp_v4_conect") int BPF_KPROBE(pf_second) { return 0; }
    """
    row = report(cli, body, code=7)
    for wrong, right in (
        ("sched/sched_swich", "sched/sched_switch"),
        ("tcp_v4_conect", "tcp_v4_connect"),
    ):
        assert row["by_name"][wrong]["state"] == "missing", wrong
        assert f"near: {right}" in row["by_name"][wrong]["helps"]
    # Both are found out when they are attached, not when they are loaded.
    assert all(load["accepted"] for load in row["programs"])


@needs_clang
def test_a_function_of_the_kernel_that_is_missing(cli: Cli) -> None:
    body = """
    extern struct task_struct *bpf_task_from_pud(int pid) __ksym;
    SEC("tp_btf/sys_enter") int BPF_PROG(pf_third) { return !bpf_task_from_pud(1); }
    """
    row = report(cli, body, code=7)
    kfunc = row["by_name"]["bpf_task_from_pud"]
    assert kfunc["state"] == "missing"
    assert "near: bpf_task_from_pid" in kfunc["helps"]
    assert "bpf_task_from_pud" in row["by_program"]["pf_third"]["why"]


@needs_clang
def test_a_helper_that_is_not_for_the_type(cli: Cli) -> None:
    body = """
    SEC("tp/sched/sched_switch") int pf_first(void *ctx)
    {
        return bpf_xdp_adjust_head(ctx, 0);
    }
    """
    row = report(cli, body, code=7)
    helper = row["by_name"]["bpf_xdp_adjust_head (tracepoint)"]
    assert (helper["state"], helper["since"]) == ("missing", "4.10")
    assert "another program type" in helper["helps"]


@needs_clang
def test_where_programs_would_go(cli: Cli) -> None:
    body = """
    SEC("tracepoint") int pf_first(void *ctx) { return 0; }
    SEC("tp_btf/sys_enter") int pf_second(void *ctx) { return 0; }
    """
    places = ("--attach", "pf_first=tp:sched/sched_switch", "--attach", "tp_btf:no_such_event")
    row = report(cli, body, *places, code=7)
    assert row["by_name"]["sched/sched_switch"]["state"] == "met"
    assert row["by_name"]["no_such_event"]["state"] == "missing"
    assert "sys_enter" not in row["by_name"]
    assert "no_such_event" in row["by_program"]["pf_second"]["why"]
    assert report(cli, body, *places[:2])["fit"] == "fits"


@needs_clang
def test_several_targets(cli: Cli, daemon: RunningDaemon) -> None:
    for name in ("one", "two"):
        cli("target", "add", name, "--local", str(daemon.socket))
    (cli.folder / "pf.bpf.c").write_text(
        HEAD + 'SEC("tc") int pf_first(struct __sk_buff *skb) { return 0; }'
    )
    table = cli("preflight", "pf.bpf.c", "-t", "one,two").splitlines()
    assert table[0].split() == ["NEED", "ONE", "TWO"]
    assert any(line.split() == ["dry", "load", "pf_first", *2 * ["accepted"]] for line in table)
    assert [line.split(" ")[0] for line in table[-2:]] == ["one", "two"]
    assert all("fits" in line for line in table[-2:])
    rows = cli.json("preflight", "pf.bpf.c", "-t", "one,two")
    assert [row["target"] for row in rows] == ["one", "two"]
    csv = cli("preflight", "pf.bpf.c", "-t", "one,two", "-o", "csv").splitlines()
    assert csv[0] == "target,kind,need,state,since,fallback,probe,helps,programs"
    assert {line.split(",")[0] for line in csv[1:]} == {"one", "two"}


@needs_clang
def test_a_viewer_loads_nothing(cli: Cli, daemon: RunningDaemon) -> None:
    cli("target", "add", "looking", "--local", str(daemon.read_only_socket))
    said = cli.refused(6, "preflight", str(SOURCE), "-t", "looking")
    assert "role" in said
    # Of a package's alternatives it may know what is listed anyway.
    assert "tcplife.bpf.o" in cli("build", "tcplife", "-t", "looking")


def test_maps_and_flags(channel: grpc.Channel) -> None:
    answers = ask(
        channel,
        target_pb2.Need(map=target_pb2.MapNeed(type=27)),  # type: ignore[arg-type]
        target_pb2.Need(map=target_pb2.MapNeed(type=2, flags=1 << 10)),  # type: ignore[arg-type]
        target_pb2.Need(map=target_pb2.MapNeed(type=1, flags=1 << 30)),  # type: ignore[arg-type]
        target_pb2.Need(map=target_pb2.MapNeed(type=4711)),  # type: ignore[arg-type]
    )
    yes, no, unknown = target_pb2.MET_YES, target_pb2.MET_NO, target_pb2.MET_UNSPECIFIED
    assert [answer.met for answer in answers] == [yes, yes, no, unknown]
    assert "0x40000000: EINVAL" in answers[2].probe


def test_helpers_by_number(channel: grpc.Channel) -> None:
    def helper(number: int, program: int, attach: int = 0) -> target_pb2.Need:
        need = target_pb2.HelperNeed(
            number=number,
            program_type=program,  # type: ignore[arg-type]
            expected_attach_type=attach,
        )
        return target_pb2.Need(helper=need)

    xdp, sk_lookup, tracing = 6, 30, 26
    found = ask(
        channel,
        helper(44, xdp, 37),
        helper(44, sk_lookup, 36),
        helper(65000, xdp, 37),
        helper(14, tracing, 23),
        helper(1, 28),
    )
    yes, no, unknown = target_pb2.MET_YES, target_pb2.MET_NO, target_pb2.MET_UNSPECIFIED
    assert [answer.met for answer in found] == [yes, no, no, yes, unknown]
    assert "invalid func" in found[2].probe
    assert found[1].needs.startswith("another program type")


def test_names_of_the_kernel(channel: grpc.Channel) -> None:
    found = ask(
        channel,
        target_pb2.Need(function="tcp_v4_connect"),
        target_pb2.Need(function="tcp_v4_*"),
        target_pb2.Need(function="no_such_function"),
        target_pb2.Need(syscall="getppid"),
        target_pb2.Need(syscall="getpppid"),
        target_pb2.Need(raw_tracepoint="sched_switch"),
        target_pb2.Need(raw_tracepoint="sched_swich"),
        target_pb2.Need(tracepoint="sched/sched_switch"),
    )
    yes, no = target_pb2.MET_YES, target_pb2.MET_NO
    assert [answer.met for answer in found] == [yes, yes, no, yes, no, yes, no, yes]
    assert "getppid" in found[4].near
    assert "sched_switch" in found[6].near


def ask(channel: grpc.Channel, *needs: target_pb2.Need) -> list[target_pb2.NeedAnswer]:
    stub = target_pb2_grpc.TargetStub(channel)
    return list(stub.Preflight(target_pb2.PreflightRequest(needs=needs)).answers)


PACKAGE = """
name = "ways"
description = "Three ways to see a system call."
version = "1.0.0"
license = "GPL-2.0-only"
source = "ways.bpf.c"

[[alternatives]]
name = "calls"
description = "how system calls are seen"

[[alternatives.choices]]
name = "impossible"
needs = ["tp_btf", "struct task_struct.long_gone"]
programs = ["pf_first"]

[[alternatives.choices]]
name = "tp_btf"
needs = ["tp_btf", "struct task_struct.pid"]
programs = ["pf_second"]
defines = ["RESULT=7"]

[[alternatives.choices]]
name = "raw"
programs = ["pf_third"]
"""

WAYS = """
#ifndef RESULT
#define RESULT 0
#endif
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, RESULT + 1);
         __type(key, u32); __type(value, u64); } pf_map SEC(".maps");
SEC("tp_btf/sys_enter") int pf_first(void *ctx) { return 0; }
SEC("tp_btf/sys_enter") int pf_second(void *ctx) { return 0; }
SEC("raw_tp/sys_enter") int pf_third(void *ctx) { return 0; }
"""


@pytest.fixture
def package(cli: Cli) -> Iterator[str]:
    folder = cli.folder / "ways"
    folder.mkdir()
    (folder / "package.toml").write_text(PACKAGE)
    (folder / "ways.bpf.c").write_text(HEAD + WAYS)
    yield str(folder)
    cli.try_("unload", "ways")


@needs_clang
def test_the_first_choice_that_the_target_can_do_is_loaded(cli: Cli, package: str) -> None:
    done = cli.try_("load", package, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert "calls: tp_btf, as the target lacks struct task_struct.long_gone" in done.stderr
    held = cli.json("object", "show", "ways")
    assert [program["name"] for program in held["programs"]] == ["pf_second"]
    (entry,) = [row for row in cli.json("map", "list") if row["name"] == "pf_map"]
    assert entry["max_entries"] == 8
    cli("unload", "ways")
    done = cli.try_("load", package, "--choose", "calls=raw", "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    held = cli.json("object", "show", "ways")
    assert [program["name"] for program in held["programs"]] == ["pf_third"]


@needs_clang
def test_preflight_and_run_choose_alike(cli: Cli, package: str) -> None:
    (row,) = cli.json("preflight", package)
    assert row["fit"] == "fits with fallback"
    assert row["choices"] == {"calls": "tp_btf"}
    assert row["fallbacks"] == ["tp_btf for calls"]
    assert [load["program"] for load in row["programs"]] == ["pf_second"]
    done = cli.try_("run", package, "--duration", "100ms", "--no-maps")
    assert done.returncode == 0
    assert "attached pf_second to tp_btf" in done.stderr
    assert "pf_first" not in done.stderr
    said = cli.refused(2, "load", package, "--choose", "calls=fentry")
    assert "impossible, tp_btf, raw" in said


@needs_clang
def test_no_choice_fits(cli: Cli, package: str) -> None:
    path = Path(package) / "package.toml"
    path.write_text(
        PACKAGE.replace(".pid", ".gone").replace('"raw"', '"raw"\nneeds = ["function pf_none"]')
    )
    said = cli.refused(7, "preflight", package)
    assert "tp_btf needs struct task_struct.gone; raw needs function pf_none" in said
    assert "--choose calls=CHOICE" in said
    path.write_text(PACKAGE.replace('"tp_btf", "struct', '"tpbtf", "struct'))
    assert "near: tp_btf" in cli.refused(2, "preflight", package)


@needs_clang
def test_events_by_a_perf_buffer(cli: Cli) -> None:
    with cli.started(
        *("run", "tcplife", "--choose", "events=perf-buffer", "--count", "1", "--no-maps"),
        *("--set", f"pid={os.getpid()}", "-o", "jsonl", "--duration", "20s"),
    ) as process:
        assert process.stderr is not None
        while "attached" not in process.stderr.readline():
            assert process.poll() is None
        deadline = time.monotonic() + 15
        while process.poll() is None and time.monotonic() < deadline:
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname()).close()
            time.sleep(0.2)
        out, _ = process.communicate(timeout=20)
    (event,) = [json.loads(line) for line in out.splitlines()]
    assert event["map"] == "ended"
    assert event["event"]["pid"] == os.getpid()
