# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.bootstrap.errors import BootstrapFailed
from bpfctl.bootstrap.facts import Facts, Place
from bpfctl.bootstrap.place import Choice, choose, streamed_to

MIB = 1 << 20


def chosen(*places: Place, memory: int | None = None, named: bool = False) -> Choice:
    return choose(
        "t", Facts(memory=memory, places=list(places)), 12 * MIB, 30 * MIB, named=named
    )


def place(path: str, free: int | None, verdict: str = "good", in_memory: bool = False) -> Place:
    return Place(path, verdict, None if free is None else free * MIB, in_memory)


def test_the_first_with_room() -> None:
    assert chosen(place("/a", 40), place("/b", 50), place("/c", 50)) == Choice("/b", False)
    assert chosen(place("/a", None), place("/b", 50)) == Choice("/a", False)


def test_one_that_lasts_goes_before_one_in_memory_and_tmp() -> None:
    memory = place("/run/x", 500, in_memory=True)
    assert chosen(memory, place("/tmp/x", 500), place("/c", 50)).path == "/c"
    assert chosen(memory, place("/c", 10)).path == "/run/x"
    # Even when the bundle has to be unpacked as it comes.
    assert chosen(memory, place("/c", 40)) == Choice("/c", True)


def test_memory_must_be_left_for_the_daemon() -> None:
    memory = place("/run/x", 500, in_memory=True)
    assert chosen(memory, memory=100 * MIB) == Choice("/run/x", False)
    assert chosen(memory, memory=70 * MIB) == Choice("/run/x", True)
    with pytest.raises(
        BootstrapFailed, match=r"in memory, of which 60.0 MiB .* 64.0 MiB needed"
    ):
        chosen(memory, memory=60 * MIB)
    assert chosen(memory, memory=60 * MIB, named=True).path == "/run/x"


def test_every_reason_is_told() -> None:
    verdicts = ("read-only", "full", "noexec", "foreign", "occupied", "absent")
    places = [place(f"/{verdict}", 100, verdict) for verdict in verdicts]
    with pytest.raises(BootstrapFailed) as raised:
        chosen(*places, place("/small", 3))
    text = str(raised.value)
    for says in (
        "no place for 32.0 MiB",
        "/read-only cannot be written",
        "/full is full",
        "/noexec is mounted so that nothing may run",
        "/foreign belongs to another user",
        "/occupied holds files",
        "/small has 3.0 MiB free",
        "--home",
    ):
        assert says in text
    assert "/absent" not in text


def test_room_for_one_more_bundle() -> None:
    def streamed(free: int | None, path: str = "/h") -> bool:
        facts = Facts(places=[place(path, free)])
        return streamed_to("t", facts, "/h", 12 * MIB, 30 * MIB)

    assert not streamed(50)
    assert streamed(40)
    assert not streamed(None)
    assert not streamed(1, "/another")
    with pytest.raises(BootstrapFailed, match=r"/h has 20.0 MiB free, .* needs 32.0 MiB"):
        streamed(20)
