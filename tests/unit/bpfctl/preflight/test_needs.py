# SPDX-License-Identifier: Apache-2.0
"""Needs are read from the object alone, each once, with the programs that have it."""

from __future__ import annotations

import pytest
from bpfctl.btf.kinds import Kind
from bpfctl.preflight import hooks, needs
from bpfctl.preflight.needs import Need

from tests.unit.bpfctl.preflight.objects import compiled, needs_clang

pytestmark = needs_clang

SOURCE = """
struct {
    __uint(type, 27);
    __uint(max_entries, 65536);
} ring SEC(".maps");
struct {
    __uint(type, 2);
    __uint(max_entries, 1);
    __uint(map_flags, 1024 | 128);
    __type(key, __u32);
    __type(value, __u64);
} slots SEC(".maps");

struct inner { int id; } RELOCATED;
struct task___old { struct { int pid; struct inner *in; }; int gone; } RELOCATED;
enum state___x { OPEN___x = 1, CLOSED };

extern int there(int value) __ksym;
extern int perhaps(int value) __ksym __weak;
extern const void somewhere __ksym;

static __attribute__((noinline)) void emit(void)
{
    void *record = reserve(&ring, 8, 0);

    if (record)
        discard(record, 0);
}

SEC("tp/sched/sched_switch")
int on_switch(void *context)
{
    struct task___old *task = (void *)get_task();
    int value = 0;

    if (exists(task->gone))
        read_kernel(&value, sizeof(value), &task->gone);
    read_kernel(&value, sizeof(value), &task->pid);
    emit();
    return value + __builtin_preserve_enum_value(*(typeof(enum state___x) *)OPEN___x, 1);
}

SEC("tp_btf/sys_enter")
int on_enter(void *context)
{
    emit();
    if (perhaps)
        perhaps(1);
    return there(3) + (long)&somewhere;
}

SEC("?kprobe/vfs_read")
int off(void *context)
{
    return 0;
}
"""


def keys(found: list[Need]) -> list[tuple[str, str]]:
    return [need.key for need in found]


def test_every_need_once_in_order() -> None:
    found = needs.of_object(compiled(SOURCE))
    assert keys(found) == [
        ("program type", "tracepoint"),
        ("hook", "perf link"),
        ("hook", "tp_btf"),
        ("tracepoint", "sched/sched_switch"),
        ("tracepoint", "sys_enter"),
        ("kernel BTF", "types (CO-RE)"),
        ("kernel BTF", "kernel BTF"),
        ("instructions", "v3"),
        ("map type", "ringbuf"),
        ("map type", "array"),
        ("map type", "array with BPF_F_RDONLY_PROG, BPF_F_MMAPABLE"),
        ("helper", "bpf_get_current_task (tracepoint)"),
        ("helper", "bpf_probe_read_kernel (tracepoint)"),
        ("helper", "bpf_ringbuf_reserve (tracepoint)"),
        ("helper", "bpf_ringbuf_discard (tracepoint)"),
        ("helper", "bpf_ringbuf_reserve (tracing)"),
        ("helper", "bpf_ringbuf_discard (tracing)"),
        ("kfunc", "perhaps"),
        ("kfunc", "there"),
        ("symbol", "somewhere"),
        ("field", "struct task.gone"),
        ("field", "struct task.pid"),
        ("enumerator", "enum state.OPEN"),
    ]


def test_what_a_need_says() -> None:
    found = {need.key: need for need in needs.of_object(compiled(SOURCE))}
    reserve = found["helper", "bpf_ringbuf_reserve (tracing)"]
    assert (reserve.ask, reserve.since) == (("helper", (131, 26, 23)), "5.8")
    assert reserve.programs == ("on_enter",)
    assert found["map type", "array with BPF_F_RDONLY_PROG, BPF_F_MMAPABLE"].ask == (
        "map",
        (2, 1152),
    )
    weak, strong = found["kfunc", "perhaps"], found["kfunc", "there"]
    assert weak.optional
    assert not strong.optional
    assert strong.ask == ("btf", ("there", Kind.FUNC))
    # Asked for, and read only then.
    assert found["field", "struct task.gone"].optional
    assert not found["field", "struct task.pid"].optional
    tracepoint = found["tracepoint", "sched/sched_switch"]
    assert tracepoint.at_attach
    assert tracepoint.ask == ("tracepoint", "sched/sched_switch")
    assert found["tracepoint", "sys_enter"].ask == (
        "btf",
        ("btf_trace_sys_enter", Kind.TYPEDEF),
    )
    assert found["hook", "perf link"].fallback


def test_programs_that_are_left_out_need_nothing() -> None:
    only = needs.of_object(compiled(SOURCE), skip=["on_switch"], also=["off"])
    programs = {name for need in only for name in need.programs}
    assert programs == {"on_enter", "off"}
    assert ("function", "vfs_read") in keys(only)
    assert ("field", "struct task.pid") not in keys(only)


def test_a_field_that_is_only_asked_for_is_optional() -> None:
    source = """
    struct net { int gone; } RELOCATED;
    SEC("xdp") int look(struct net *context) { return exists(context->gone); }
    """
    (field,) = [need for need in needs.of_object(compiled(source)) if need.kind == "field"]
    assert (field.optional, field.name) == (True, "struct net.gone")


@pytest.mark.parametrize(
    ("cpu", "wanted"), [("v1", []), ("v2", ["v2"]), ("v3", ["v3"]), ("v4", ["v4", "v3"])]
)
def test_instruction_sets(cpu: str, wanted: list[str]) -> None:
    source = """
    struct packet { signed char kind; __u32 length; __u64 id; };
    SEC("xdp") int sizes(struct packet *packet)
    {
        if (packet->id < (__u64)packet)
            return packet->kind;
        return packet->length < 7 ? 1 : 2;
    }
    """
    found = needs.of_object(compiled(source, cpu))
    sets = [need.name for need in found if need.kind == "instructions"]
    # Of v2 there need not be an instruction in code for v3.
    assert [name for name in sets if name != "v2" or cpu == "v2"] == wanted


def test_newer_instructions_are_told_by_kernel() -> None:
    source = """
    __u64 total;
    SEC("xdp") int add(void *context) { return __sync_fetch_and_add(&total, 1); }
    """
    (need,) = [
        need for need in needs.of_object(compiled(source)) if need.kind == "instructions"
    ]
    assert (need.name, need.since, need.ask) == ("atomics beyond add", "5.12", None)


def test_where_a_package_says_it_goes() -> None:
    source = 'SEC("tc") int t(void *context) { return 0; }'
    by_section = {need.name: need for need in needs.of_object(compiled(source))}
    assert by_section["tc"].fallback == "clsact"
    tcx = needs.of_object(compiled(source), attach={"t": ["tcx:{interface},ingress"]})
    assert {need.name: need for need in tcx}["tcx link"].fallback == ""
    nowhere = needs.of_object(compiled(source), attach={"t": ["none"]})
    assert keys(nowhere) == [("program type", "sched_cls")]


def test_struct_ops() -> None:
    source = """
    struct tcp_congestion_ops { void (*init)(void *socket); char name[16]; };
    SEC("struct_ops/init") void init(void *socket) {}
    SEC(".struct_ops.link") struct tcp_congestion_ops slow = { .init = init, .name = "slow" };
    """
    found = {need.key: need for need in needs.of_object(compiled(source))}
    kind = found["hook", "struct_ops tcp_congestion_ops"]
    assert kind.ask == ("btf", ("bpf_struct_ops_tcp_congestion_ops", Kind.STRUCT))
    assert found["hook", "struct_ops link"].fallback
    assert ("hook", "struct_ops") in found


def test_tc_and_tcx_are_apart() -> None:
    source = """
    SEC("tc") int t(void *context) { return 0; }
    SEC("tcx/ingress") int x(void *context) { return 0; }
    """
    found = {need.key: need for need in needs.of_object(compiled(source))}
    either, strict = found["hook", "tc"], found["hook", "tcx link"]
    assert (either.programs, either.fallback) == (("t",), "clsact")
    assert (strict.programs, strict.fallback) == (("x",), "")
    assert either.ask == strict.ask == ("feature", "tcx link")


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("xdp", ["xdp"]),
        ("xdp.frags", ["xdp", "xdp (fragments)"]),
        ("uprobe.s//bin/sh:main", ["kprobe", "kprobe (sleepable)"]),
        ("cgroup/connect_unix", ["cgroup_sock_addr", "cgroup_sock_addr (cgroup/connect_unix)"]),
        ("tcx/egress", ["sched_cls"]),
        ("syscall", ["syscall"]),
        ("nonsense", ['SEC("nonsense")']),
    ],
)
def test_program_types(section: str, names: list[str]) -> None:
    found = hooks.needs(section)
    assert [need.name for need in found if need.kind == "program type"] == names


def test_flags_that_a_type_cannot_be_without() -> None:
    source = """
    struct { __uint(type, 33); __uint(map_flags, 1024); __uint(max_entries, 1); }
        a SEC(".maps");
    struct { __uint(type, 33); __uint(map_flags, 1024 | (1 << 18)); __uint(max_entries, 1); }
        b SEC(".maps");
    SEC("xdp") int p(void *context) { return (long)&a + (long)&b; }
    """
    found = [need.name for need in needs.of_object(compiled(source)) if need.kind == "map type"]
    assert found == ["arena", "arena with BPF_F_MMAPABLE, BPF_F_NO_USER_CONV"]
