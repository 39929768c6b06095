# SPDX-License-Identifier: Apache-2.0
"""Sources that are generated; that they load and count is what the kernel's tests show."""

from __future__ import annotations

import pytest
from bpfctl.trace import formats, kernel
from bpfctl.trace.errors import TraceError
from bpfctl.trace.generate import source
from bpfctl.trace.program import Parameter, Probe, Wanted
from bpfctl.trace.registers import Place
from bpfctl.trace.values import CType, integer, text_pointer

FORMAT = """name: sched_process_exec
ID: 300
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;
\tfield:pid_t pid;\toffset:12;\tsize:4;\tsigned:1;
\tfield:char comm[16];\toffset:24;\tsize:16;\tsigned:0;

print fmt: "filename=%s", __get_str(filename)
"""

FUNCTION = Probe(
    "kprobe",
    ("f",),
    "struct registers {\n\t__u64 di;\n\t__u64 si;\n};\n",
    "struct registers *",
    (
        Parameter("size", integer(8), Place("ctx->di")),
        Parameter("name", text_pointer(8), Place("ctx->si")),
        Parameter("d", CType("float", 8, text="double"), Place(why="floating point")),
    ),
    integer(4, True, "int"),
    Place("ctx->ax"),
)


def test_fields_of_a_tracepoint() -> None:
    found = formats.parse(FORMAT, 8)
    assert [(each.name, each.offset, each.storage) for each in found] == [
        ("filename", 8, "data_loc"),
        ("pid", 12, "plain"),
        ("comm", 24, "text"),
    ]


def test_a_record_has_its_gaps() -> None:
    probe = kernel.tracepoint("sched_process_exec", FORMAT, 8)
    assert probe.context.splitlines() == [
        "struct record {",
        "\t__u8 padding_0[8];",
        "\t__u32 filename;",
        "\t__s32 pid;",
        "\t__u8 padding_1[8];",
        "\tchar comm[16];",
        "};",
    ]
    made = source(probe, Wanted())
    assert "char filename[128];" in made.source
    assert made.programs == ("on_call",)
    with pytest.raises(TraceError, match="does not return"):
        source(probe, Wanted(returns=True))


def test_what_cannot_be_read_is_said_and_left_out() -> None:
    made = source(FUNCTION, Wanted())
    assert made.unreadable == {"d": "floating point"}
    assert "event->args.size = size;" in made.source
    with pytest.raises(TraceError, match="floating point"):
        source(FUNCTION, Wanted(arguments=["d"]))


def test_conditions_of_the_return_make_a_second_program() -> None:
    made = source(FUNCTION, Wanted(condition="duration > 1000 and size == 7"))
    assert made.programs == ("on_call", "on_return")
    before, after = made.source.split('SEC("kretprobe")')
    assert "if (!((size == 7)))" in before
    assert "duration" not in before.partition("int on_call")[2]
    assert "(now - entry->time_ns) > 1000" in after


def test_texts_in_conditions_cannot_leave_their_quotes() -> None:
    made = source(FUNCTION, Wanted(condition='name == "a\\\\x"', pid=7, comm="cu*"))
    assert 'is_text(comm, "cu", 2)' in made.source
    assert "thread >> 32 != 7" in made.source
    odd = source(FUNCTION, Wanted(), title="kprobe:f */ int evil;")
    assert "*/ int evil" not in odd.source


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(arguments=["sizes"]), "did you mean size"),
        (Wanted(arguments=["size->x"]), "has no member"),
        (Wanted(condition="size == 'a'"), "no text"),
        (Wanted(condition='comm == "0123456789abcdefg"'), "at most 15"),
        (Wanted(mode="hist", histogram="name and d"), "floating"),
        (Wanted(step=5), "belongs to --hist"),
    ],
)
def test_expressions_that_do_not_fit(wanted: Wanted, said: str) -> None:
    with pytest.raises(TraceError, match=said):
        source(FUNCTION, wanted)


def test_many_functions_are_told_apart_by_their_cookie() -> None:
    probe = Probe("kprobe.multi", ("a", "b", "c"))
    counted = source(probe, Wanted(mode="count"))
    assert "__u32 hit = bpf_get_attach_cookie(ctx);" in counted.source
    assert "__uint(max_entries, 3);" in counted.source
    slow = source(probe, Wanted(mode="hist", histogram="duration"))
    assert 'SEC("kretprobe.multi")' in slow.source
