# SPDX-License-Identifier: Apache-2.0
"""Many clients on the same names at once: every call succeeds or is refused in words."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from bpfd.v1 import common_pb2, links_pb2
from tests.kernel.api import PINNED, SWITCHES, Api
from tests.kernel.clang import compiled
from tests.kernel.conftest import RunningDaemon

EXPECTED = {
    grpc.StatusCode.INVALID_ARGUMENT,  # the name is taken, or being loaded
    grpc.StatusCode.NOT_FOUND,  # unloaded meanwhile
    grpc.StatusCode.ALREADY_EXISTS,  # the same program at the same hook
    grpc.StatusCode.ABORTED,  # the session that owned the object has ended
}


def work(daemon: RunningDaemon, seed: int, pinned: bool) -> set[grpc.StatusCode]:
    """One client; the codes of the refusals that it met."""
    chance, met = random.Random(seed), set()
    first, second = compiled("objects"), compiled("objects", "VERSION=2")
    with daemon.channel() as channel:
        api = Api(channel)
        session, stream = api.open_session(label=f"client {seed}")
        lifetime = PINNED if pinned else common_pb2.Lifetime(session=session)
        for _ in range(40):
            name = chance.choice(["a", "b"])
            step: Any = chance.choice(
                [
                    lambda name=name: api.load(name, first, lifetime),
                    lambda name=name: api.load(name, second, lifetime, replace=True),
                    lambda name=name: api.attach(f"{name}/count_switches", SWITCHES),
                    lambda name=name: api.links.Detach(
                        links_pb2.DetachRequest(name=f"{name}/count_switches")
                    ),
                    lambda name=name: api.unload(name),
                ]
            )
            try:
                step()
            except grpc.RpcError as error:
                met.add(error.code())
        api.close_session(session)
        list(stream)
    return met


@pytest.mark.parametrize("pinned", [True, False])
def test_many_clients(daemon: RunningDaemon, pinned: bool) -> None:
    compiled("objects")
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda seed: work(daemon, seed, pinned), range(8)))
    assert set().union(*codes) <= EXPECTED, daemon.log()
    with daemon.channel() as channel:
        api = Api(channel)
        for name in api.object_names():
            api.unload(name)
        assert not api.links.List(links_pb2.ListLinksRequest()).links
    left = [path for path in (daemon.bpffs / "bpfd").rglob("*") if not path.is_dir()]
    assert left == []
