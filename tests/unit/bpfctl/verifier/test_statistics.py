# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bpfctl.verifier import statistics
from google.protobuf.duration_pb2 import Duration

from bpfd.v1 import common_pb2, errors_pb2, objects_pb2

SAID = objects_pb2.VerifierStatistics(
    processed_insns=120,
    max_states_per_insn=3,
    total_states=9,
    peak_states=7,
    mark_read=2,
    stack_depth=[16, 8],
    time=Duration(nanos=45_000),
)


def program(**fields: object) -> objects_pb2.VerifiedProgram:
    log = objects_pb2.ProgramLog(program="p", statistics=SAID)
    return objects_pb2.VerifiedProgram(log=log, **fields)  # type: ignore[arg-type]


def test_figures() -> None:
    row = statistics.row(
        program(
            accepted=True,
            type=common_pb2.PROGRAM_TYPE_XDP,
            expected_attach_type=37,
            bytes_xlated=80,
            bytes_jited=100,
        ),
        None,
        "o",
    )
    assert row == {
        "object": "o",
        "program": "p",
        "verdict": "accepted",
        "type": "xdp",
        "attach_type": "xdp",
        "section": None,
        "processed_insns": 120,
        "total_states": 9,
        "peak_states": 7,
        "max_states_per_insn": 3,
        "mark_read": 2,
        "stack_bytes": 24,
        "stack_depth": [16, 8],
        "size_insns": None,
        "bytes_xlated": 80,
        "bytes_jited": 100,
        "time_us": 45,
    }
    assert set(statistics.METRICS) <= set(row)
    assert statistics.for_table(row) == {
        "object": "o",
        "program": "p",
        "verdict": "accepted",
        "insns": 120,
        "states": 9,
        "peak": 7,
        "max/insn": 3,
        "mark_read": 2,
        "stack": "16+8",
        "size": None,
        "jited": 100,
        "time_us": 45,
    }


def test_what_the_kernel_does_not_say_is_none() -> None:
    silent = objects_pb2.VerifiedProgram(log=objects_pb2.ProgramLog(program="p"), errno=22)
    row = statistics.row(silent, None, "o")
    assert row["verdict"] == "refused"
    assert row["errno"] == 22
    assert {row[metric] for metric in statistics.METRICS} == {None}


def test_no_verdict() -> None:
    detail = errors_pb2.ErrorDetail(not_supported=errors_pb2.NotSupported(feature="x"))
    assert statistics.verdict(program(error=detail)) == "untried"
