# SPDX-License-Identifier: Apache-2.0
"""What is typed to be traced."""

from __future__ import annotations

import pytest
from bpfctl.trace.errors import TraceError
from bpfctl.trace.spec import Spec, parse


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("tcp_connect", Spec("bare", "tcp_connect")),
        ("kprobe:vfs_*", Spec("kprobe", "vfs_*")),
        ("kretprobe:vfs_read", Spec("kprobe", "vfs_read", returns=True)),
        ("fexit:vfs_read", Spec("fentry", "vfs_read", returns=True)),
        ("tracepoint:sched:sched_switch", Spec("tracepoint", "sched_switch", "sched")),
        ("sched:sched_switch", Spec("tracepoint", "sched_switch", "sched")),
        ("sched/sched_switch", Spec("tracepoint", "sched_switch", "sched")),
        ("tp:sched_switch", Spec("tracepoint", "sched_switch")),
        ("raw_tp:sched_switch", Spec("raw_tp", "sched_switch")),
        ("uprobe:/bin/bash:readline", Spec("uprobe", "readline", binary="/bin/bash")),
        ("u:libc.so.6:malloc", Spec("uprobe", "malloc", binary="libc.so.6")),
        ("uretprobe:/a:f", Spec("uprobe", "f", binary="/a", returns=True)),
        ("uprobe:/a:ns::run(int)", Spec("uprobe", "ns::run(int)", binary="/a")),
    ],
)
def test_kinds(text: str, spec: Spec) -> None:
    assert parse(text) == spec


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no function"),
        ("kprobes:vfs_read:x", "did you mean kprobe"),
        ("uprobe:/bin/bash", "BINARY:FUNCTION"),
        ("kprobe:", "names no function"),
        ("a;b", "names no function"),
        ("tcp_connect\n*/ int x;", "names no function"),
    ],
)
def test_what_is_none(text: str, said: str) -> None:
    with pytest.raises(TraceError, match=said):
        parse(text)


def test_as_text_again() -> None:
    for text in ("tcp_connect", "tracepoint:sched:sched_switch", "uprobe:/bin/a:f"):
        assert str(parse(text)) == text
    assert parse("sched:*").pattern
    assert not parse("sched_switch").pattern
