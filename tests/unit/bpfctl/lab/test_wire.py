# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from bpfctl.lab.errors import LabError
from bpfctl.lab.wire import Wire, in_use


@pytest.fixture
def board(tmp_path: Path) -> Iterator[socket.socket]:
    """The board's end, as QEMU has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "wire.board"))
        end.settimeout(5)
        yield end


@pytest.fixture
def wire(board: socket.socket, tmp_path: Path) -> Iterator[Wire]:
    with Wire(tmp_path / "wire.here", tmp_path / "wire.board") as wire:
        yield wire


def test_frames_go_both_ways(wire: Wire, board: socket.socket, tmp_path: Path) -> None:
    wire.send(b"to the board")
    assert board.recv(100) == b"to the board"
    board.sendto(b"from the board", str(tmp_path / "wire.here"))
    assert wire.receive() == b"from the board"
    assert wire.receive(0) is None


def test_frames_within_a_time(wire: Wire, board: socket.socket, tmp_path: Path) -> None:
    for number in range(5):
        board.sendto(b"x" * (60 + number), str(tmp_path / "wire.here"))
    assert [len(frame) for frame in wire.frames(0.2)] == [60, 61, 62, 63, 64]


def test_a_board_that_takes_nothing(wire: Wire, board: socket.socket) -> None:
    def flood() -> None:
        for _ in range(100_000):
            wire.send(b"x" * 1500, timeout=0.1)

    with pytest.raises(TimeoutError):
        flood()
    assert board.recv(2000) == b"x" * 1500


def test_a_board_that_is_gone(wire: Wire, board: socket.socket, tmp_path: Path) -> None:
    board.close()
    with pytest.raises(LabError, match="is gone"):
        wire.send(b"x")
    (tmp_path / "wire.board").unlink()
    with pytest.raises(LabError, match="is gone"):
        wire.send(b"x")


def test_only_one_holds_an_end(wire: Wire, tmp_path: Path) -> None:
    assert in_use(tmp_path / "wire.here")
    with pytest.raises(LabError, match=r"wire\.here is in use"):
        Wire(tmp_path / "wire.here", tmp_path / "wire.board")
    wire.close()
    assert not in_use(tmp_path / "wire.here")
    assert not (tmp_path / "wire.here").exists()


def test_an_end_that_was_left_is_taken(board: socket.socket, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as crashed:
        crashed.bind(str(tmp_path / "wire.here"))
    with Wire(tmp_path / "wire.here", tmp_path / "wire.board") as wire:
        wire.send(b"again")
    assert board.recv(100) == b"again"
