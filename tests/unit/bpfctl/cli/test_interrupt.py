# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from bpfctl.cli import interrupt

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    interrupt.install()
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


def grpc_code(source: str) -> dict[str, object]:
    """What a source defines that seems to be a file of gRPC."""
    names: dict[str, object] = {"os": os, "signal": signal, "threading": threading}
    exec(compile(source, os.sep.join(("", "lib", "grpc", "_channel.py")), "exec"), names)
    return names


def test_at_once_outside_of_grpc() -> None:
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(SystemExit) as raised:
        os.kill(os.getpid(), signal.SIGTERM)
    assert raised.value.code == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_grpc_comes_to_an_end_first(number: int) -> None:
    names = grpc_code(
        "def step(number):\n"
        "    os.kill(os.getpid(), number)\n"
        "    done.append(sum(range(1000)))\n"
    )
    done: list[int] = []
    names["done"] = done
    step = names["step"]
    assert callable(step)

    def step_and_wait() -> None:
        step(number)
        threading.Event().wait(60)

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        step_and_wait()
    assert done


def test_waiting_inside_of_grpc_is_interrupted_and_leaves_the_lock() -> None:
    names = grpc_code(
        "condition = threading.Condition()\n"
        "def wait():\n"
        "    with condition:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        condition.wait(60)\n"
    )
    wait, condition = names["wait"], names["condition"]
    assert callable(wait)
    assert isinstance(condition, threading.Condition)
    with pytest.raises(KeyboardInterrupt):
        wait()
    assert condition.acquire(blocking=False)


def test_the_process_ends_though_a_destructor_would_wait_for_ever() -> None:
    source = (
        "import sys, threading\n"
        "from bpfctl.cli import root\n"
        "class Stuck:\n"
        "    def __del__(self):\n"
        "        threading.Event().wait()\n"
        "stuck = Stuck()\n"
        "root.main(['--version'])\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith(b"bpfctl, version")
