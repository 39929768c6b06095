# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.errors import InvalidArgument
from bpfctl.references import describe, map_ref, program_ref

from bpfd.v1 import common_pb2


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("7", "id"),
        ("/sys/fs/bpf/x", "pin_path"),
        ("demo/counters", "member"),
        ("a/.bss", "member"),
    ],
)
def test_references_are_written_as_they_are_read(text: str, kind: str) -> None:
    for parse in (program_ref, map_ref):
        ref = parse(text)
        assert ref is not None
        assert ref.WhichOneof("ref") == kind
        assert describe(ref) == text


def test_numbers_and_messages_pass_through() -> None:
    assert map_ref(7) == common_pb2.MapRef(id=7)
    ref = common_pb2.ProgramRef(id=3)
    assert program_ref(ref) is ref


def test_bare_names_are_to_be_looked_up() -> None:
    assert map_ref("counters") is None
    assert program_ref("7x") is None


@pytest.mark.parametrize("text", ["", "0", "4294967296", "a/"])
def test_bad_references(text: str) -> None:
    with pytest.raises(InvalidArgument):
        map_ref(text)
