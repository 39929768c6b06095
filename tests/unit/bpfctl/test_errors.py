# SPDX-License-Identifier: Apache-2.0
"""Every kind of error goes over a real connection and comes back as what it was."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator
from pathlib import Path

import bpfctl.errors as client
import pytest
from bpfctl.config import LocalTarget
from bpfctl.target import Target

import bpfd.errors as daemon
from bpfd.v1 import errors_pb2
from tests.unit.bpfctl.fake_daemon import FakeDaemon

EXAMPLES: list[daemon.BpfdError] = [
    daemon.NotSupported("tcx link", "6.6", "clsact"),
    daemon.VerifierRejected("count", "0: (85) call 7\nunknown func\n", 22, False, 3),
    daemon.AttachBusy("XDP on eth0", "program 7 of object x", 7, 9),
    daemon.PermissionMissing("CAP_BPF", "CAP_PERFMON", "Load"),
    daemon.NotFound("map", "flws", ["flows", "flow"], "look at the list"),
    daemon.InvalidArgument("options.maps[2].max_entries", "must not be 0"),
    daemon.LeaseExpired("s-1"),
    daemon.LimitExceeded("map flows", 16, 17, 16, "delete some"),
    daemon.KernelError("BPF_LINK_CREATE", 22, "look at dmesg"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeDaemon, Target]]:
    path: Path = tmp_path_factory.mktemp("errors") / "s"
    with (
        FakeDaemon(f"unix:{path}") as fake,
        Target.open("fake", LocalTarget(str(path))) as target,
    ):
        yield fake, target


def test_every_kind_is_known_on_both_sides() -> None:
    wire = {item.name for item in errors_pb2.ErrorDetail.DESCRIPTOR.oneofs[0].fields}
    assert set(client.KINDS) == wire
    assert {type(error).__name__ for error in EXAMPLES} == {
        kind.__name__ for kind in client.KINDS.values()
    }


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_error_survives_the_wire(
    served: tuple[FakeDaemon, Target], error: daemon.BpfdError
) -> None:
    fake, target = served
    fake.target.error = error
    with pytest.raises(client.BpfctlError) as caught:
        target.info(features=True)
    assert type(caught.value).__name__ == type(error).__name__
    assert dataclasses.asdict(caught.value) == dataclasses.asdict(error)
    assert str(caught.value) == str(error)


def test_long_verifier_log_keeps_its_end(served: tuple[FakeDaemon, Target]) -> None:
    fake, target = served
    log = "".join(f"{number}: (b7) r0 = 0\n" for number in range(100_000)) + "R1 is bad\n"
    fake.target.error = daemon.VerifierRejected("count", log)
    with pytest.raises(client.VerifierRejected) as caught:
        target.info(features=True)
    assert caught.value.log_truncated
    assert len(caught.value.log) > 40_000
    assert caught.value.log.endswith("R1 is bad\n")
    assert "R1 is bad" in str(caught.value)


def test_unknown_kind_is_no_crash() -> None:
    assert client.from_detail(b"") is None


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_error_can_be_pickled(error: daemon.BpfdError) -> None:
    mirrored = client.KINDS[_kind(error)](**dataclasses.asdict(error))
    assert pickle.loads(pickle.dumps(mirrored)) == mirrored


def _kind(error: daemon.BpfdError) -> str:
    detail = errors_pb2.ErrorDetail.FromString(daemon.to_status(error)[2][0][1])
    kind = detail.WhichOneof("kind")
    assert kind is not None
    return kind
