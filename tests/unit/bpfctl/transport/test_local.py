# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import bpfctl
import grpc
import pytest
from bpfctl.config import LocalTarget
from bpfctl.errors import ApiMismatch, InvalidArgument, TargetUnreachable
from bpfctl.target import Target
from bpfctl.transport.local import why_not

from bpfd.v1 import target_pb2
from tests.unit.bpfctl.fake_daemon import FakeDaemon


def test_connects_and_reads_the_target(tmp_path: Path) -> None:
    with FakeDaemon(f"unix:{tmp_path}/s") as fake:
        with bpfctl.connect(f"unix:{tmp_path}/s") as target:
            assert target.info().hostname == "fake"
        assert fake.target.calls == 1


def test_proxy_of_the_environment_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with FakeDaemon(f"unix:{tmp_path}/s"), bpfctl.connect(f"unix:{tmp_path}/s") as target:
        assert target.info().machine == "x86_64"


def test_no_socket(tmp_path: Path) -> None:
    with pytest.raises(
        TargetUnreachable, match=r"not running; start the daemon with `bpfd serve"
    ):
        bpfctl.connect(f"unix:{tmp_path}/none")


def test_stale_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(tmp_path / "s"))
    with pytest.raises(TargetUnreachable, match="has ended and left its socket"):
        bpfctl.connect(f"unix:{tmp_path}/s")


def test_not_a_socket(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("")
    with pytest.raises(TargetUnreachable, match="is not a socket"):
        bpfctl.connect(f"unix:{tmp_path}/s")


def test_path_that_no_socket_can_have() -> None:
    with pytest.raises(InvalidArgument, match="longer than the 107 bytes"):
        Target.open("x", LocalTarget("/tmp/" + "x" * 120))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize(("mode", "words"), [(0o600, "run as root"), (0o755, "run as root")])
def test_permission_names_mode_and_group(tmp_path: Path, mode: int, words: str) -> None:
    # pytest's folders are closed to others; this one must be open to show the socket's mode.
    folder = Path("/tmp") / f"bpfctl-test-{os.getpid()}-{mode:o}"
    folder.mkdir(mode=0o755)
    path = folder / "s"
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            path.chmod(mode)
            script = (
                # Python's own files may be closed to others: import first.
                "import os, grp\n"
                "from bpfctl.transport.local import why_not\n"
                "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
                f"print(why_not('local', {str(path)!r}, ''))"
            )
            done = subprocess.run(
                [sys.executable, "-c", script], capture_output=True, text=True, check=False
            )
        assert "may not be opened by this user" in done.stdout, done.stderr
        assert "group root" in done.stdout
        assert words in done.stdout
    finally:
        path.unlink(missing_ok=True)
        folder.rmdir()


def test_group_that_may_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert "broke the connection: reset" in str(why_not("local", str(path), "reset"))


def test_other_api(tmp_path: Path) -> None:
    def register(server: grpc.Server) -> None:
        server.add_generic_rpc_handlers(())

    address = f"unix:{tmp_path}/s"
    with FakeDaemon(address, register=register), pytest.raises(ApiMismatch, match=r"bpfd\.v1"):
        bpfctl.connect(address)


def test_something_that_is_not_grpc(tmp_path: Path) -> None:
    path = tmp_path / "s"

    def answer(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                connection.sendall(b"220 mail.example.org ESMTP\r\n")
            connection.close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=answer, args=(listener,), daemon=True)
        thread.start()
        with pytest.raises((TargetUnreachable, ApiMismatch)):
            bpfctl.connect(f"unix:{path}")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_silent_daemon_is_given_up(tmp_path: Path) -> None:
    with FakeDaemon(f"unix:{tmp_path}/s") as fake:
        fake.target.hold = threading.Event()
        with pytest.raises(TargetUnreachable, match="no answer within"):
            bpfctl.connect(f"unix:{tmp_path}/s", timeout=0.3)


def test_interrupt_ends_the_work_on_the_target(tmp_path: Path) -> None:
    """What Ctrl-C does to a call that is under way."""
    with (
        FakeDaemon(f"unix:{tmp_path}/s") as fake,
        bpfctl.connect(f"unix:{tmp_path}/s") as target,
    ):
        fake.target.hold = threading.Event()
        timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), 2))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            target.rpc.call(
                target.rpc.target.GetTarget, target_pb2.GetTargetRequest(), "Target.GetTarget"
            )
        assert fake.target.cancelled.wait(10)
