# SPDX-License-Identifier: Apache-2.0
"""Attach points: the text and the message say the same, for every kind."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

import pytest
from bpfctl import attachpoint
from bpfctl.attachpoint import InvalidAttachPoint
from bpfctl.attachpoint.functions import aimed
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfd.v1 import attach_pb2

PAGE = Path(__file__).parents[3] / "docs/attach-points.md"
KINDS = [field.name for field in attach_pb2.AttachPoint.DESCRIPTOR.fields]

TEXT = st.text(
    st.sampled_from(",:+\\/=*?[0xid5ab é\n-."), min_size=1, max_size=9
) | st.sampled_from(
    ["id:5", "pid:1", "name:x", "path:x", "pin:/x", "0x10", "7", "/sys/fs/bpf/x", "\\", "a\\"]
)

NEVER_EMPTY = {"binary", "provider", "category", "name", "function", "functions", "syscall"}
ALWAYS_SET = {
    "interface",
    "cgroup",
    "map",
    "socket",
    "target",
    "where",
    "ref",
    "anchor",
    "over",
}


def value_of(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return message_of(field.message_type)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.type == field.TYPE_STRING:
        return TEXT
    if field.type == field.TYPE_BOOL:
        return st.just(True) if field.name == "first" else st.booleans()
    wide = field.cpp_type in (field.CPPTYPE_UINT64, field.CPPTYPE_INT64)
    top = 2**64 - 1 if wide else 2**32 - 1
    if field.cpp_type == field.CPPTYPE_INT32:
        return st.integers(-(2**31), 2**31 - 1)
    return st.integers(0, 12) | st.integers(0, top)


@st.composite
def message_of(draw: st.DrawFn, kind: Descriptor) -> Any:
    """A message of this type in which everything that must be there is."""
    message = getattr(attach_pb2, kind.name, None) or getattr(
        __import__("bpfd.v1.common_pb2", fromlist=["x"]), kind.name
    )
    values: dict[str, Any] = {}
    for oneof in kind.oneofs:
        if oneof.name in ALWAYS_SET or draw(st.booleans()):
            field = draw(st.sampled_from(list(oneof.fields)))
            values[field.name] = draw(value_of(field))
    for field in kind.fields:
        if field.containing_oneof is not None:
            continue
        if field.is_repeated:
            values[field.name] = draw(st.lists(value_of(field), max_size=5))
        elif field.name in NEVER_EMPTY | ALWAYS_SET or draw(st.booleans()):
            values[field.name] = draw(value_of(field))
    return message(**values)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_parse_is_the_inverse_of_describe(kind: str, data: st.DataObject) -> None:
    field = attach_pb2.AttachPoint.DESCRIPTOR.fields_by_name[kind]
    message = data.draw(value_of(field))
    point = attach_pb2.AttachPoint(**{kind: message})
    text = attachpoint.describe(point)
    assert attachpoint.parse(text) == point, text


@pytest.mark.parametrize(
    "text",
    [
        "xdp:eth0",
        "xdp:eth0,mode=generic,netns=blue",
        "xdp:ifindex:7,mode=native,priority=5,proceed_on=pass+drop,netns=/run/netns/x",
        "tc:eth0,ingress",
        "tcx:eth0,egress,before_link=7,revision=3,netns=pid:123",
        "clsact:eth0,ingress,priority=1,handle=2",
        "netkit:nk0,peer,first",
        "cgroup_skb:/sys/fs/cgroup/x,ingress",
        "cgroup_skb:id:77,egress",
        "sock_ops:/sys/fs/cgroup/x",
        "cgroup_sock:/x,post_bind4",
        "cgroup_sock_addr:/x,connect4,after_program=9",
        "cgroup_sockopt:/x,get",
        "cgroup_sysctl:/x",
        "cgroup_device:/x",
        "sk_msg:proxy/sockets",
        "sk_skb:12,stream_verdict",
        "sk_lookup,netns=blue",
        "sk_reuseport,pid=1,fd=3,migrate",
        "socket_filter:eth0,netns=blue",
        "socket_filter,pid=1,fd=3",
        "flow_dissector",
        "netfilter,ipv4,local_in,priority=-128,defragment",
        "netfilter,family=7,hook=4294967295",
        "lwt:eth0,prefix=10.0.0.0/8,headroom=14",
        "tracepoint:sched/sched_switch,cookie=5",
        "raw_tracepoint:sched_switch",
        "tp_btf",
        "kprobe:do_unlinkat+4",
        "kprobe:0xffffffff81000000",
        "kretprobe:do_unlinkat,cookie=1",
        "kprobe_multi:vfs_read:vfs_write,cookies=1-3",
        "kretprobe_multi:vfs_*",
        "kprobe_multi:tcp_*,session",
        "ksyscall:openat",
        "kretsyscall:openat",
        "uprobe:/bin/bash:readline,pid=1",
        "uprobe:libc.so.6:malloc+16",
        "uretprobe:/bin/bash:readline",
        "uprobe:/bin/bash:0x1234,semaphore=64",
        "uprobe_multi:/bin/bash:rl_*,pid=4",
        "usdt:/usr/bin/python3:python:gc__start,pid=3",
        "tracing,cookie=7",
        "lsm",
        "lsm_cgroup:/x",
        "iterator,map=/sys/fs/bpf/flows",
        "iterator,tid=4",
        "perf_event:cpu-clock,frequency=99,cpus=0-3:8",
        "perf_event:4:0x1c2,period=1000",
        "struct_ops:congestion/ops",
        "freplace:xdp_pass/dispatcher,function=prog0",
    ],
)
def test_canonical_texts_stay_as_they_are(text: str) -> None:
    assert attachpoint.describe(attachpoint.parse(text)) == text


def documented() -> list[str]:
    """The examples of the user's page: second column of its first table."""
    table = PAGE.read_text().partition("| kind |")[2].partition("Order among")[0]
    return re.findall(r"^\|[^|]*\| `([^`]+)` \|", table, re.MULTILINE)


@pytest.mark.parametrize("text", documented())
def test_the_examples_of_the_page(text: str) -> None:
    if (fixed := aimed(text)) is not None and fixed.function:
        text = fixed.point.replace("fentry", "tracing")
    assert attachpoint.describe(attachpoint.parse(text)) == text


def test_the_page_has_every_kind() -> None:
    words = set(re.findall(r"\w+", PAGE.read_text()))
    assert words.issuperset(attachpoint.kind_names())
    assert len(documented()) > 25


def test_fields_are_where_they_belong() -> None:
    xdp = attachpoint.parse("xdp:eth0,mode=generic,netns=pid:12").xdp
    assert xdp.interface.name == "eth0"
    assert xdp.interface.netns.pid == 12
    assert xdp.mode == attach_pb2.XDP_MODE_GENERIC
    tc = attachpoint.parse("tcx:eth0,ingress").tc
    assert tc.method == attach_pb2.TC_METHOD_TCX
    assert tc.direction == attach_pb2.TC_DIRECTION_INGRESS
    probe = attachpoint.parse("uretprobe:/bin/bash:readline+0x10,pid=1").uprobe
    assert (probe.binary, probe.function, probe.offset) == ("/bin/bash", "readline", 16)
    assert probe.ret
    assert probe.pid == 1
    event = attachpoint.parse("perf_event:task-clock,frequency=99").perf_event
    assert (event.type, event.config, event.frequency) == (1, 1, 99)
    assert attachpoint.parse("sk_lookup").WhichOneof("point") == "sk_lookup"
    colon = attachpoint.parse(r"uprobe:/opt/a\:b:f").uprobe
    assert colon.binary == "/opt/a:b"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("tp:sched/sched_switch", "tracepoint:sched/sched_switch"),
        ("raw_tp:sched_switch", "raw_tracepoint:sched_switch"),
        ("sockops:/x", "sock_ops:/x"),
        ("fentry", "tracing"),
        ("tc:eth0,direction=egress", "tc:eth0,egress"),
        ("cgroup_sockopt:/x", "cgroup_sockopt:/x,get"),
        ("xdp:name:eth0", "xdp:eth0"),
        ("iter", "iterator"),
    ],
)
def test_other_spellings(text: str, same: str) -> None:
    assert attachpoint.describe(attachpoint.parse(text)) == same


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no kind of attach point ''; there is cgroup_device, "),
        ("xpd:eth0", "no kind of attach point 'xpd'; did you mean xdp"),
        ("xdp", "write xdp:INTERFACE"),
        ("xdp:", "write xdp:INTERFACE"),
        ("xdp:eth0,mod=generic", "'mod=generic' is unknown; did you mean mode="),
        ("xdp:eth0,generic", "'generic' is unknown; there is mode=, priority="),
        ("xdp:eth0,mode=generik", "mode is one of native, .*'generik'; did you mean generic"),
        ("xdp:eth0,mode=generic,mode=native", "mode is there twice"),
        ("xdp:ifindex:x", "ifindex is a number, not 'x'"),
        ("xdp:ifindex:4294967296", "ifindex is 0 to 4294967295"),
        ("xdp:eth0,netns=", "netns is a name, an absolute path or pid:NUMBER"),
        ("xdp:eth0,proceed_on=pass+maybe", "takes aborted, drop, .*, not 'maybe'"),
        ("xdp:eth0,proceed_on=pass+redirct", "'redirct'; did you mean redirect"),
        ("xdp:eth0,proceed_on=", "takes aborted, drop, .*, not ''"),
        ("xdp:eth0\\", "ends in the middle of an escape"),
        ("tc:eth0,ingres", "'ingres' is unknown; did you mean ingress"),
        ("tcx:eth0,before_link=1,first", "first beside another place in the order"),
        ("tracepoint:sched_switch", "a tracepoint is CATEGORY/NAME, as sched/sched_switch"),
        ("tracepoint:/x", "CATEGORY is empty"),
        ("uprobe:/bin/bash", "a function follows"),
        ("uprobe:/bin/bash:f+x", "the offset is a number"),
        ("uprobe:/bin/bash:f,pid=-1", "pid is 0 to 4294967295"),
        ("usdt:/bin/x:p", "a USDT probe is BINARY:PROVIDER:NAME"),
        ("tp_btf:sched_switch", "'sched_switch' is fixed when the program is loaded"),
        ("sk_lookup:blue", "nothing stands behind the colon, not 'blue'"),
        ("perf_event:cpu-clok", "no perf event 'cpu-clok'; did you mean cpu-clock"),
        ("perf_event:cpu-clock,frequency=9,period=9", "'period=9' and frequency exclude"),
        ("perf_event:cpu-clock,cpus=9-1", "cpus: 9-1 is no range"),
        ("perf_event:cpu-clock,cpus=0-99999999", "is no range"),
        ("iterator,map=m,cgroup=/x", "and map exclude each other"),
        ("socket_filter:eth0,pid=1,fd=2", "and raw exclude each other"),
        ("sk_msg:", "write sk_msg:MAP"),
        ("sk_msg:a/", "'a/' is no OBJECT/NAME"),
        ("lsm,5", "'5' is unknown"),
        ("lsm_cgroup:/x,y", "nothing is known to follow"),
    ],
)
def test_bad_texts_are_explained(text: str, words: str) -> None:
    with pytest.raises(InvalidAttachPoint, match=words):
        attachpoint.parse(text)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(attachpoint.kind_names()),
    st.text(st.sampled_from(",:+\\/=*-0x5abpidfngresmod"), max_size=30),
)
def test_nothing_else_is_raised(kind: str, rest: str) -> None:
    try:
        point = attachpoint.parse(kind + rest)
    except InvalidAttachPoint as error:
        said = str(error)
    else:
        said = attachpoint.describe(attachpoint.parse(attachpoint.describe(point)))
        assert said == attachpoint.describe(point)
    assert said


def test_the_program_before_the_point() -> None:
    assert attachpoint.split_program("drop=xdp:eth0,mode=generic") == (
        "drop",
        "xdp:eth0,mode=generic",
    )
    assert attachpoint.split_program("xdp:eth0,mode=generic")[0] is None
    assert attachpoint.split_program("tp_btf,cookie=5")[0] is None
    assert attachpoint.split_program("f=tp_btf,cookie=5") == ("f", "tp_btf,cookie=5")


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("tp/sched/sched_switch", "tracepoint:sched/sched_switch"),
        ("tracepoint/syscalls/sys_enter_openat", "tracepoint:syscalls/sys_enter_openat"),
        ("raw_tp/sched_switch", "raw_tracepoint:sched_switch"),
        ("raw_tracepoint.w/nbd_send_request", "raw_tracepoint:nbd_send_request"),
        ("tp_btf/sched_switch", "tp_btf"),
        ("fentry.s/do_unlinkat", "tracing"),
        ("fmod_ret/security_file_open", "tracing"),
        ("lsm/file_open", "lsm"),
        ("kprobe/do_unlinkat", "kprobe:do_unlinkat"),
        ("kprobe/do_unlinkat+0x4", "kprobe:do_unlinkat+4"),
        ("kretprobe/vfs_read", "kretprobe:vfs_read"),
        ("kprobe.multi/vfs_*", "kprobe_multi:vfs_*"),
        ("kretprobe.multi/vfs_*", "kretprobe_multi:vfs_*"),
        ("kprobe.session/vfs_*", "kprobe_multi:vfs_*,session"),
        ("ksyscall/openat", "ksyscall:openat"),
        ("kretsyscall/openat", "kretsyscall:openat"),
        ("uprobe//bin/bash:readline", "uprobe:/bin/bash:readline"),
        ("uretprobe.s//bin/bash:readline", "uretprobe:/bin/bash:readline"),
        ("uprobe/libc.so.6:malloc+8", "uprobe:libc.so.6:malloc+8"),
        ("uprobe.multi//bin/bash:rl_*", "uprobe_multi:/bin/bash:rl_*"),
        ("uretprobe.multi//bin/bash:rl_*", "uretprobe_multi:/bin/bash:rl_*"),
        ("usdt//usr/bin/python3:python:gc__start", "usdt:/usr/bin/python3:python:gc__start"),
        ("iter/task", "iterator"),
        ("?tp/sched/sched_switch", "tracepoint:sched/sched_switch"),
    ],
)
def test_sections_that_say_where(section: str, text: str) -> None:
    suggestion = attachpoint.from_section(section)
    assert suggestion.point == attachpoint.parse(text)
    assert suggestion.needs is None
    assert suggestion.why == ""
    assert suggestion.enabled == (not section.startswith("?"))


@pytest.mark.parametrize(
    ("section", "needs", "given", "text"),
    [
        ("xdp", "interface", "eth0", "xdp:eth0"),
        ("xdp.frags", "interface", "eth0,netns=blue", "xdp:eth0,netns=blue"),
        ("tc", "interface", "eth0,ingress", "tc:eth0,ingress"),
        ("tc/egress", "interface", "eth0", "tc:eth0,egress"),
        ("tcx/ingress", "interface", "eth0", "tcx:eth0,ingress"),
        ("netkit/peer", "interface", "nk0", "netkit:nk0,peer"),
        ("cgroup_skb/ingress", "cgroup", "/x", "cgroup_skb:/x,ingress"),
        ("cgroup/connect4", "cgroup", "/x", "cgroup_sock_addr:/x,connect4"),
        ("cgroup/getsockname_unix", "cgroup", "/x", "cgroup_sock_addr:/x,getsockname_unix"),
        ("cgroup/sock", "cgroup", "/x", "cgroup_sock:/x,create"),
        ("cgroup/setsockopt", "cgroup", "/x", "cgroup_sockopt:/x,set"),
        ("cgroup/getsockopt", "cgroup", "/x", "cgroup_sockopt:/x,get"),
        ("cgroup/dev", "cgroup", "/x", "cgroup_device:/x"),
        ("sockops", "cgroup", "/x", "sock_ops:/x"),
        ("lsm_cgroup/socket_create", "cgroup", "/x", "lsm_cgroup:/x"),
        ("sk_skb/stream_verdict", "map", "o/m", "sk_skb:o/m,stream_verdict"),
        ("sk_msg", "map", "o/m", "sk_msg:o/m"),
        ("sk_lookup", "netns", "blue", "sk_lookup,netns=blue"),
        ("flow_dissector", "netns", "", "flow_dissector"),
        ("socket", "interface", "eth0", "socket_filter:eth0"),
    ],
)
def test_sections_that_need_something(section: str, needs: str, given: str, text: str) -> None:
    suggestion = attachpoint.from_section(section)
    assert suggestion.needs == needs
    assert needs in suggestion.why
    assert suggestion.point is not None
    assert attachpoint.complete(suggestion.point, given) == attachpoint.parse(text)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("kprobe", "add --attach kprobe:FUNCTION"),
        ("uprobe", "add --attach uprobe:BINARY:FUNCTION"),
        ("tp", "add --attach tracepoint:CATEGORY/NAME"),
        ("perf_event", "add --attach perf_event:cpu-clock,frequency=99"),
        ("xdp/devmap", "devmap"),
        ("syscall", "test run"),
        ("struct_ops/ssthresh", "struct_ops"),
        ("netfilter", "add --attach netfilter,ipv4"),
        ("iter/bpf_map_elem", "iterator,map=MAP"),
        ("freplace/f", "add --attach freplace:PROGRAM"),
    ],
)
def test_sections_that_do_not_say_where(section: str, words: str) -> None:
    suggestion = attachpoint.from_section(section)
    assert suggestion.point is None
    assert suggestion.needs is None
    assert words in suggestion.why


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("xpd", "section 'xpd' is no section of a program; did you mean xdp"),
        ("kpobe/do_unlinkat", "did you mean kprobe"),
        ("cgroup/conect4", "did you mean cgroup/connect4"),
        ("xdp/eth0", "section 'xdp/eth0': nothing may follow 'xdp'"),
        ("qqqqqq", r'write SEC\("xdp"\)'),
        ("tp/", "section 'tp/'"),
        ("", "section ''"),
    ],
)
def test_unknown_sections(section: str, words: str) -> None:
    with pytest.raises(InvalidAttachPoint, match=words):
        attachpoint.from_section(section)


def test_every_section_of_the_installed_libbpf_is_known() -> None:
    try:
        libbpf = ctypes.CDLL("libbpf.so.1")
    except OSError:
        pytest.skip("needs libbpf.so.1")
    printed: list[bytes] = []
    c = ctypes.CDLL(None)

    def collect(level: int, form: bytes, arguments: int | None) -> int:
        buffer = ctypes.create_string_buffer(1 << 14)
        c.vsnprintf(buffer, len(buffer), form, ctypes.c_void_p(arguments))
        printed.append(buffer.value)
        return 0

    form = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    callback = form(collect)
    libbpf.libbpf_set_print.restype = ctypes.c_void_p
    before = libbpf.libbpf_set_print(callback)
    try:
        kinds = ctypes.c_int(), ctypes.c_int()
        libbpf.libbpf_prog_type_by_name(b"nonsense", *map(ctypes.byref, kinds))
    finally:
        libbpf.libbpf_set_print(ctypes.c_void_p(before))
    listed = next(text for text in printed if b"section(type) names" in text).decode()
    names = listed.partition("names are:")[2].split()
    assert len(names) > 60
    for name in names:
        assert attachpoint.from_section(name.rstrip("+")).section
