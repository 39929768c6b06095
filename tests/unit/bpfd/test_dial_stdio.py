# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
import threading

from bpfd.dial_stdio import copy


class Joined:
    """`copy` in a thread, with the far ends of everything it joins."""

    def __init__(self) -> None:
        stdin, self.to_stdin = os.pipe()
        self.from_stdout, stdout = os.pipe()
        near, self.daemon = socket.socketpair()
        self.daemon.settimeout(10)

        def run() -> None:
            copy(stdin, stdout, near)
            os.close(stdout)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def ended(self) -> bool:
        self.thread.join(10)
        return not self.thread.is_alive()


def test_both_ways_and_the_end_of_the_daemon() -> None:
    joined = Joined()
    os.write(joined.to_stdin, b"request")
    assert joined.daemon.recv(100) == b"request"
    joined.daemon.sendall(b"answer")
    assert os.read(joined.from_stdout, 100) == b"answer"
    joined.daemon.close()
    assert os.read(joined.from_stdout, 100) == b""
    assert joined.ended()


def test_answers_arrive_after_the_end_of_standard_input() -> None:
    joined = Joined()
    os.write(joined.to_stdin, b"last request")
    os.close(joined.to_stdin)
    assert joined.daemon.recv(100) == b"last request"
    assert joined.daemon.recv(100) == b""
    joined.daemon.sendall(b"late answer")
    assert os.read(joined.from_stdout, 100) == b"late answer"
    joined.daemon.close()
    assert joined.ended()


def test_nobody_reads_standard_output() -> None:
    joined = Joined()
    os.close(joined.from_stdout)
    joined.daemon.sendall(b"answer")
    assert joined.ended()
    assert joined.daemon.recv(100) == b""


def test_more_than_a_pipe_holds() -> None:
    joined = Joined()
    data = os.urandom(5 << 20)
    sender = threading.Thread(target=joined.daemon.sendall, args=(data,))
    sender.start()
    received = bytearray()
    while len(received) < len(data):
        received += os.read(joined.from_stdout, 1 << 16)
    sender.join()
    assert received == data
    joined.daemon.close()
    assert joined.ended()
