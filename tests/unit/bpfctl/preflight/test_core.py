# SPDX-License-Identifier: Apache-2.0
"""Fields, types and enumerators as libbpf finds them in a kernel's BTF."""

from __future__ import annotations

import pytest
from bpfctl.btf import Btf
from bpfctl.btf.kinds import Kind
from bpfctl.preflight.core import CorePath, missing

from tests.unit.bpfctl.preflight.objects import compiled, needs_clang

pytestmark = needs_clang

KERNEL = """
enum state { OPEN = 1, CLOSED = 2 };
typedef struct { int counter; } atomic_t;
struct list { struct list *next; };
struct task {
    union { struct { int pid; int tgid; }; __u64 both; };
    struct list children[4];
    atomic_t usage;
    enum state state;
    struct task *parent;
};
struct task the_task;
SEC("xdp") int program(void *context) { return the_task.pid; }
"""


@pytest.fixture(scope="module")
def kernel() -> Btf:
    return Btf.parse(compiled(KERNEL).btf)


@pytest.mark.parametrize(
    "path",
    [
        CorePath(Kind.STRUCT, "task"),
        CorePath(Kind.STRUCT, "task", ("tgid",)),
        CorePath(Kind.STRUCT, "task", ("both",)),
        CorePath(Kind.STRUCT, "task", ("children", "next")),
        CorePath(Kind.STRUCT, "task", ("usage", "counter")),
        CorePath(Kind.TYPEDEF, "atomic_t", ("counter",)),
        CorePath(Kind.ENUM, "state", (), "CLOSED"),
    ],
)
def test_what_is_there(kernel: Btf, path: CorePath) -> None:
    assert missing(kernel, path) is None


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (CorePath(Kind.STRUCT, "tusk"), "the kernel has no struct tusk"),
        (CorePath(Kind.UNION, "task"), "the kernel has no union task"),
        (
            CorePath(Kind.STRUCT, "task", ("__state",)),
            "no __state there; there is state, usage",
        ),
        (CorePath(Kind.STRUCT, "task", ("usage", "refs")), "no refs there"),
        (CorePath(Kind.STRUCT, "task", ("tgid", "x")), "what holds x is no struct there"),
        (CorePath(Kind.ENUM, "state", (), "CLOSES"), "no CLOSES there; there is CLOSED"),
    ],
)
def test_what_is_not(kernel: Btf, path: CorePath, why: str) -> None:
    assert missing(kernel, path) == why


def test_in_words() -> None:
    assert str(CorePath(Kind.STRUCT, "task", ("usage", "counter"))) == (
        "struct task.usage.counter"
    )
    assert str(CorePath(Kind.ENUM, "state", (), "OPEN")) == "enum state.OPEN"
    assert str(CorePath(Kind.TYPEDEF, "atomic_t")) == "atomic_t"
