# SPDX-License-Identifier: Apache-2.0
"""Needs on the wire, and what BTF of a kernel says of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from bpfctl.btf import Btf
from bpfctl.btf.kinds import Kind
from bpfctl.errors import NotSupported
from bpfctl.preflight.answers import Answer, answers, by_btf
from bpfctl.preflight.core import CorePath
from bpfctl.preflight.needs import Need
from bpfctl.target import Target

from bpfd.v1 import target_pb2
from tests.unit.bpfctl.preflight.objects import compiled, needs_clang

KERNEL = """
struct task { int pid; };
struct task the_task;
SEC("xdp") int tcp_connect(void *context) { return the_task.pid; }
"""
FIELD = Need("field", "struct task.pid", ("core", CorePath(Kind.STRUCT, "task", ("pid",))))
GONE = Need("field", "struct task.gone", ("core", CorePath(Kind.STRUCT, "task", ("gone",))))
KNOWN = Need("kernel BTF", "types", ("core", None))
FUNCTION = Need("kfunc", "tcp_conect", ("btf", ("tcp_conect", Kind.FUNC)))


@needs_clang
def test_by_btf() -> None:
    btf = Btf.parse(compiled(KERNEL).btf)
    assert by_btf(FIELD, btf).met is True
    assert by_btf(KNOWN, btf).met is True
    gone = by_btf(GONE, btf)
    assert (gone.met, gone.probe) == (False, "no gone there")
    function = by_btf(FUNCTION, btf)
    assert (function.met, function.helps) == (False, "near: tcp_connect")


def test_without_btf_nothing_is_said_to_be_missing() -> None:
    assert by_btf(FIELD, "fetch it") == Answer(None, "no BTF of the kernel is known")
    assert by_btf(KNOWN, "fetch it").helps == "fetch it"
    assert by_btf(KNOWN, "fetch it").met is False


class FakeTarget:
    """A daemon that keeps what it was asked, and a kernel without BTF."""

    def __init__(self) -> None:
        self.asked: list[target_pb2.Need] = []
        self.rpc = SimpleNamespace(call=self._call, target=SimpleNamespace(Preflight=None))

    @property
    def btf(self) -> Any:
        raise NotSupported("BTF of the kernel")

    def _call(
        self, _: object, request: target_pb2.PreflightRequest, name: str, timeout: None
    ) -> target_pb2.PreflightResponse:
        self.asked += request.needs
        answer = target_pb2.NeedAnswer(
            met=target_pb2.MET_NO, probe="tried", since="5.8", near=["like"]
        )
        return target_pb2.PreflightResponse(answers=[answer] * len(request.needs))


def test_only_what_the_kernel_knows_is_asked() -> None:
    target = FakeTarget()
    needs = [
        Need("program type", "xdp", ("program", (6, 37, 32))),
        FIELD,
        Need("map type", "arena", ("map", (33, 1024))),
        Need("helper", "bpf_x", ("helper", (131, 6, 37)), since="5.7"),
        Need("function", "f", ("function", "f")),
        Need("configuration", "CONFIG_X"),
    ]
    found = answers(cast("Target", target), needs)
    program, arena, helper, function = target.asked
    assert (program.program.type, program.program.flags) == (6, 32)
    assert program.program.expected_attach_type == 37
    assert (arena.map.type, arena.map.flags) == (33, 1024)
    assert (helper.helper.number, helper.helper.program_type) == (131, 6)
    assert function.function == "f"
    assert [answer.met for answer in found] == [False, None, False, False, False, None]
    assert [answer.since for answer in found] == ["5.8", "", "5.8", "5.7", "5.8", ""]
    assert found[4].helps == "near: like"


def test_flags_have_bounds_where_the_type_is_there() -> None:
    class Flags(FakeTarget):
        def _call(self, *_: object, **__: object) -> target_pb2.PreflightResponse:
            return target_pb2.PreflightResponse(
                answers=[target_pb2.NeedAnswer(met=target_pb2.MET_NO)]
            )

    (found,) = answers(cast("Target", Flags()), [Need("map type", "x", ("map", (1, 1 << 17)))])
    assert found.since == "6.2 to 6.12"


@pytest.mark.parametrize("need", [FIELD, FUNCTION])
def test_btf_that_is_not_known_is_asked_for_once(need: Need) -> None:
    assert answers(cast("Target", FakeTarget()), [need, need])[1].met is None
