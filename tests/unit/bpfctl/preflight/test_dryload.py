# SPDX-License-Identifier: Apache-2.0
"""What became of each program, also where the object is refused as a whole."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from bpfctl.errors import InvalidArgument, NotSupported
from bpfctl.objects import LoadSettings
from bpfctl.preflight.dryload import dry_load
from bpfctl.target import Target

from bpfd.v1 import errors_pb2, objects_pb2
from tests.unit.bpfctl.preflight.objects import compiled, needs_clang

pytestmark = needs_clang

SOURCE = """
SEC("xdp") int good(void *context) { return 2; }
SEC("tp_btf/sys_enter") int bad(void *context) { return 0; }
SEC("?xdp") int off(void *context) { return 2; }
"""


class Fake:
    """A target that refuses objects with the program `bad` before it sends them."""

    def __init__(self, error: Exception, *, btf: bytes = b"") -> None:
        self._error = error
        self._btf = btf

    def info(self) -> Any:
        return SimpleNamespace(btf_sha256=self._btf)

    def verify(self, elf: bytes, settings: LoadSettings) -> objects_pb2.VerifyResponse:
        if "bad" not in settings.skip:
            raise self._error
        response = objects_pb2.VerifyResponse()
        item = response.programs.add(accepted=True)
        item.log.program = "good"
        item.log.statistics.processed_insns = 2
        return response


def tried(fake: Fake) -> list[tuple[str, bool, str]]:
    found = dry_load(cast("Target", fake), compiled(SOURCE), LoadSettings())
    return [(load.program, load.accepted, load.why) for load in found]


def test_without_btf_of_the_kernel_each_is_tried_alone() -> None:
    refused = NotSupported("tp_btf", needs="BTF")
    assert tried(Fake(refused)) == [("good", True, ""), ("bad", False, str(refused))]


def test_elsewhere_it_is_of_all() -> None:
    for refused in (NotSupported("tp_btf"), InvalidArgument("map m", "too large")):
        words = str(refused)
        assert tried(Fake(refused, btf=b"hash")) == [
            ("good", False, words),
            ("bad", False, words),
        ]


def test_what_kept_a_program_from_its_verdict() -> None:
    class Told(Fake):
        def verify(self, elf: bytes, settings: LoadSettings) -> objects_pb2.VerifyResponse:
            response = objects_pb2.VerifyResponse()
            item = response.programs.add()
            item.log.program = "bad"
            item.error.CopyFrom(
                errors_pb2.ErrorDetail(
                    invalid_argument=errors_pb2.InvalidArgument(field="elf", why="no such BTF")
                )
            )
            refused = response.programs.add(errno=13)
            refused.log.program = "good"
            refused.log.log = "0: (95) exit\nR0 !read_ok\nprocessed 1 insns\n"
            return response

    bad, good = tried(Told(NotSupported("")))
    assert bad == ("bad", False, "elf: no such BTF")
    assert good[:2] == ("good", False)
    assert "R0 !read_ok" in good[2]
