# SPDX-License-Identifier: Apache-2.0
"""The daemon starts, tells that it is ready, refuses what it must, and leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bpfd import __version__
from bpfd.v1 import sessions_pb2, sessions_pb2_grpc, target_pb2, target_pb2_grpc
from tests.kernel.conftest import PROGRAM, MakeDaemon, RunningDaemon


def _target(channel: grpc.Channel) -> target_pb2.TargetInfo:
    return target_pb2_grpc.TargetStub(channel).GetTarget(target_pb2.GetTargetRequest())


def _run(arguments: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=60, env={**os.environ, **more}
    )


def test_ready_line_and_sockets(daemon: RunningDaemon) -> None:
    assert daemon.ready.startswith(f"bpfd {__version__} ready on {daemon.socket}, ")
    assert daemon.ready.strip() in daemon.log()
    for path in (daemon.socket, daemon.read_only_socket):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert (daemon.folder / "bpfd.sock.lock").read_text() == f"{daemon.pid}\n"


def test_sigterm_ends_sessions_with_a_word_and_leaves_nothing(daemon: RunningDaemon) -> None:
    with daemon.channel() as channel:
        stream = sessions_pb2_grpc.SessionsStub(channel).Open(sessions_pb2.OpenSessionRequest())
        assert next(stream).opened.session
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        assert "shutting down" in next(stream).closing.reason
        assert daemon.process.wait(20) == 0
    assert sorted(path.name for path in daemon.folder.iterdir()) == ["log", "state"]
    assert "Traceback" not in daemon.log()


def test_sigint_is_as_good(daemon: RunningDaemon) -> None:
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.process.wait(20) == 0
    assert not daemon.socket.exists()


def test_a_second_daemon_on_the_same_socket_names_the_first(daemon: RunningDaemon) -> None:
    second = _run([*daemon.command(), "--bpffs", str(daemon.bpffs) + "-other"])
    assert second.returncode == 75
    assert f"another bpfd (pid {daemon.pid}) serves {daemon.socket}" in second.stderr
    assert not Path(str(daemon.bpffs) + "-other").exists()
    with daemon.channel() as channel:
        assert _target(channel).daemon_pid == daemon.pid


def test_a_second_daemon_on_the_same_pins_names_the_first(daemon: RunningDaemon) -> None:
    second = _run([*daemon.command(), "--socket", str(daemon.folder / "other.sock")])
    assert second.returncode == 75
    assert f"another bpfd (pid {daemon.pid}) keeps its pins in {daemon.bpffs}" in second.stderr
    assert not (daemon.folder / "other.sock").exists()
    assert not (daemon.folder / "other.sock.lock").exists()


def test_what_a_killed_daemon_left_is_replaced(daemon: RunningDaemon) -> None:
    daemon.kill()
    assert daemon.socket.exists()
    daemon.start()
    with daemon.channel() as channel:
        assert _target(channel).daemon_pid == daemon.pid


def test_without_privileges_nothing_is_made(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
    refused = _run([*drop, *daemon.command()])
    assert refused.returncode == 77
    assert "CAP_BPF" in refused.stderr
    assert "start it as root" in refused.stderr
    assert list(daemon.folder.iterdir()) == []


def test_without_libbpf_it_says_what_to_install(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    code = (
        "import ctypes, sys\n"
        "real = ctypes.CDLL\n"
        "def cdll(name, *rest, **more):\n"
        "    if name and 'libbpf' in name: raise OSError(f'{name}: cannot open')\n"
        "    return real(name, *rest, **more)\n"
        "ctypes.CDLL = cdll\n"
        "from bpfd.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    missing = _run([sys.executable, "-c", code, *daemon.command()[len(PROGRAM) :]])
    assert missing.returncode == 69
    assert "apt install libbpf1" in missing.stderr
    assert list(daemon.folder.iterdir()) == []


def test_a_folder_that_cannot_be_made(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    file = daemon.folder / "file"
    file.touch()
    failed = _run([*daemon.command(), "--socket", str(file / "bpfd.sock")])
    assert failed.returncode == 73
    assert str(file) in failed.stderr


def test_a_file_that_is_no_socket_is_not_removed(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    daemon.read_only_socket.write_text("precious")
    failed = _run(daemon.command())
    assert failed.returncode == 73
    assert f"cannot listen on {daemon.read_only_socket}" in failed.stderr
    assert "no socket" in failed.stderr
    assert daemon.read_only_socket.read_text() == "precious"
    assert not daemon.socket.exists()


def test_a_second_daemon_on_the_socket_of_viewers(daemon: RunningDaemon) -> None:
    other = ["--socket", str(daemon.folder / "other.sock")]
    second = _run(
        [*daemon.command(), *other, "--read-only-socket", str(daemon.read_only_socket)]
    )
    assert second.returncode == 75
    assert f"serves {daemon.read_only_socket}" in second.stderr
    with daemon.channel(viewer=True) as channel:
        assert _target(channel).role == "viewer"


def test_sd_notify(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(f"{daemon.folder}/notify")
        supervisor.settimeout(20)
        daemon.start({"NOTIFY_SOCKET": f"{daemon.folder}/notify"})
        assert supervisor.recv(4096).decode() == f"READY=1\nMAINPID={daemon.pid}"
        assert daemon.stop() == 0
        assert supervisor.recv(4096) == b"STOPPING=1"


def test_idle_exit_waits_for_sessions(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon("--idle-exit", "0.2")
    daemon.start()
    assert daemon.process is not None
    with daemon.channel() as channel:
        stream = sessions_pb2_grpc.SessionsStub(channel).Open(sessions_pb2.OpenSessionRequest())
        next(stream)
        with pytest.raises(subprocess.TimeoutExpired):
            daemon.process.wait(0.6)
        stream.cancel()
    assert daemon.process.wait(20) == 0
    assert "idle for 0.2 s" in daemon.log()


def test_health_says_serving(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined]
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_names_every_service(channel: grpc.Channel) -> None:
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
        ProtoReflectionDescriptorDatabase,
    )

    database = ProtoReflectionDescriptorDatabase(channel)
    names = set(database.get_services())
    assert {"bpfd.v1.Objects", "bpfd.v1.Maps", "grpc.health.v1.Health"} <= names
    file = database.FindFileContainingSymbol("bpfd.v1.Target")
    assert file.name == "bpfd/v1/target.proto"


def test_idle_threads_of_our_own_do_not_wake_up(daemon: RunningDaemon) -> None:
    """gRPC's own threads do (docs/design/008-idle.md); the one that runs our code sleeps."""
    with daemon.channel() as channel:
        _target(channel)

    def switches() -> int:
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])

    def settled() -> int:
        previous = -1
        while (now := switches()) != previous:
            previous = now
            subprocess.run(["sleep", "0.3"], check=True)
        return now

    before = settled()
    subprocess.run(["sleep", "1.5"], check=True)
    assert switches() == before
