# SPDX-License-Identifier: Apache-2.0
"""`bpfd dial-stdio`: the daemon's API over two pipes."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import grpc

from bpfd.v1 import target_pb2, target_pb2_grpc
from tests.kernel.conftest import RunningDaemon


def _command(path: Path) -> list[str]:
    return [sys.executable, "-m", "bpfd", "dial-stdio", "--socket", str(path)]


def _serve_once(listener: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Joins one connection to the standard input and output of the process."""
    connection, _ = listener.accept()
    assert process.stdin is not None
    assert process.stdout is not None
    stdout = process.stdout

    def down() -> None:
        while data := stdout.read1(65536):  # type: ignore[attr-defined]
            connection.sendall(data)
        connection.close()

    thread = threading.Thread(target=down)
    thread.start()
    while data := connection.recv(65536):
        process.stdin.write(data)
        process.stdin.flush()
    process.stdin.close()
    thread.join()


def test_calls_go_through_and_it_ends_with_the_client(daemon: RunningDaemon) -> None:
    with subprocess.Popen(
        _command(daemon.socket), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{daemon.folder}/bridge")
            listener.listen()
            bridge = threading.Thread(target=_serve_once, args=(listener, process))
            bridge.start()
            with grpc.insecure_channel(f"unix:{daemon.folder}/bridge") as channel:
                stub = target_pb2_grpc.TargetStub(channel)
                info = stub.GetTarget(target_pb2.GetTargetRequest(), timeout=30)
                assert info.daemon_pid == daemon.pid
                chunks = stub.GetBtf(target_pb2.GetBtfRequest(), timeout=60)
                assert sum(len(chunk.data) for chunk in chunks) == info.btf_size
            bridge.join(30)
            assert not bridge.is_alive()
        assert process.wait(30) == 0


def test_it_ends_with_the_daemon(daemon: RunningDaemon) -> None:
    with subprocess.Popen(
        _command(daemon.socket), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(9)  # HTTP/2 settings: the connection is there
        daemon.kill()
        assert process.wait(30) == 0


def test_no_daemon(tmp_path: Path) -> None:
    missing = subprocess.run(
        _command(tmp_path / "bpfd.sock"),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert missing.returncode == 69
    assert missing.stderr == (
        f"bpfd dial-stdio: cannot connect to {tmp_path}/bpfd.sock: No such file or directory; "
        "is the daemon running? start it with: bpfd serve\n"
    )


def test_it_imports_no_grpc() -> None:
    code = (
        "import sys; from bpfd.__main__ import main; code = main(sys.argv[1:]); "
        "print(code, [name for name in ('grpc', 'asyncio', 'google') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, "dial-stdio", "--socket", "/nonexistent"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "69 []\n"
