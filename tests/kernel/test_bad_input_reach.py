# SPDX-License-Identifier: Apache-2.0
"""Targets that cannot be reached, speak something else, or do not let everyone in."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.kernel.api import Api, eventually
from tests.kernel.clang import clang, compiled
from tests.kernel.command_line import CommandLine, check_clean
from tests.kernel.conftest import MakeDaemon, RunningDaemon

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SSH_KEYGEN = shutil.which("ssh-keygen")


@pytest.fixture
def line(tmp_path: Path) -> CommandLine:
    """A command line whose socket nobody has made."""
    return CommandLine(tmp_path / "s", tmp_path)


COMMANDS = (
    ("object", "list"),
    ("unload", "x"),
    ("map", "dump", "x"),
    ("events", "x"),
    ("target", "info"),
    ("run", "ddos"),
)


def test_no_daemon(line: CommandLine) -> None:
    for command in COMMANDS:
        line.run(*command).refused(5, str(line.socket), "not running", "bpfd serve")


def test_a_socket_that_was_left(line: CommandLine) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(line.socket))
    for command in COMMANDS[:2]:
        line.run(*command).refused(5, "nobody listens", "bpfd serve")
    line.socket.unlink()
    line.socket.write_text("")
    line.run("object", "list").refused(5, "is not a socket", "bpfd serve")


def test_the_wrong_permissions(bpfctl: CommandLine, daemon: RunningDaemon) -> None:
    """Another user at the operators' socket, and at a folder that is closed."""
    for path in (daemon.folder, bpfctl.folder, *bpfctl.folder.parents):
        if str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o055)
    environment = {
        "BPFCTL_CONFIG_DIR": "/nonexistent/config",
        "BPFCTL_CACHE_DIR": "/nonexistent/cache",
    }
    as_nobody = bpfctl.run("object", "list", prefix=NOBODY, environment=environment)
    as_nobody.refused(5, str(daemon.socket), "may not be opened", "run as root")
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660
    daemon.folder.chmod(0o700)
    as_nobody = bpfctl.run("object", "list", prefix=NOBODY, environment=environment)
    as_nobody.refused(5, str(daemon.folder), "run as root")


def test_names_of_targets(line: CommandLine) -> None:
    line.run("-t", "nowhere", "object", "list").refused(4, "nowhere", "target add")
    line.run("-t", "unix:/nowhere/s", "object", "list").refused(5, "/nowhere/s")
    line.run("-t", "unix:" + "x" * 200, "object", "list").refused(2, "107 bytes")
    line.run("-t", "ssh://", "object", "list").refused(2, "HOST")
    line.run("-t", "ssh://host:99999", "object", "list").refused(2, "port 99999")
    done = line.run("target", "add", "a/b", "--local", "/s")
    done.refused(2, "a/b", "letters, digits", context=True)
    done = line.run("object", "list", environment={"BPFCTL_TARGET": "nowhere"})
    done.refused(4, "nowhere")


GARBAGE = [
    ("[targets", "not valid TOML"),
    ("\x00\x01", "not valid TOML"),
    ("targets = 5", "targets"),
    ("[targets]\nx = 5", "not a table"),
    ("[targets.x]", "transport must be one of"),
    ('[targets.x]\ntransport = "pigeon"', "transport must be one of"),
    ('[targets.x]\ntransport = ["ssh"]', "transport must be one of"),
    ('[targets.x]\ntransport = "ssh"', "needs host"),
    ('[targets.x]\ntransport = "ssh"\nhost = 5', "host has the wrong type"),
    ('[targets.x]\ntransport = "ssh"\nhost = "h"\nport = "22"', "port has the wrong type"),
    ('[targets.x]\ntransport = "ssh"\nhost = "h"\nport = true', "port has the wrong type"),
    ('[targets.x]\ntransport = "local"\ncolor = "red"', "no such setting: color"),
]


def test_garbage_in_the_file_of_targets(bpfctl: CommandLine) -> None:
    folder = bpfctl.folder / "config"
    folder.mkdir()
    path = folder / "targets.toml"
    for text, says in GARBAGE:
        path.write_text(text)
        bpfctl.run("-t", "x", "object", "list").refused(2, str(path), says)
    path.write_bytes(b"\xff\xfe\x00")
    bpfctl.run("-t", "x", "object", "list").refused(2, str(path))
    path.write_text(GARBAGE[0][0])
    bpfctl.run("target", "list").refused(2, str(path))
    done = bpfctl.run("target", "add", "y", "--local", "/s")
    done.refused(2, str(path))
    assert path.read_text() == GARBAGE[0][0], "the file was overwritten"
    path.unlink()
    path.mkdir()
    bpfctl.run("-t", "x", "object", "list").refused(2, str(path))


Handlers = dict[str, Callable[[bytes, grpc.ServicerContext], bytes]]


@contextlib.contextmanager
def other_server(path: Path, handlers: Handlers) -> Iterator[None]:
    """A gRPC server with these calls of bpfd.v1.Target, and nothing else."""
    server = grpc.server(ThreadPoolExecutor(2))
    methods: dict[str, Any] = {
        name: grpc.unary_unary_rpc_method_handler(function)
        for name, function in handlers.items()
    }
    generic = grpc.method_handlers_generic_handler("bpfd.v1.Target", methods)
    server.add_generic_rpc_handlers((generic,))
    server.add_insecure_port(f"unix:{path}")
    server.start()
    try:
        yield
    finally:
        server.stop(0).wait()


def test_a_server_without_our_services(line: CommandLine) -> None:
    with other_server(line.socket, {}):
        for command in COMMANDS:
            line.run(*command).refused(5, "does not speak bpfd.v1", "install")


@pytest.mark.parametrize(
    "answer", [b"\xff\xff\xff", b"\x0a\x7f", b"plain text of another kind"]
)
def test_a_server_with_other_messages(line: CommandLine, answer: bytes) -> None:
    with other_server(line.socket, {"GetTarget": lambda *_: answer}):
        line.run("object", "list").refused(5, "does not speak bpfd.v1", "install")


def test_a_daemon_of_earlier_days(line: CommandLine) -> None:
    """It is a bpfd, but has not got the call."""
    with other_server(line.socket, {"GetTarget": lambda *_: b""}):
        line.run("object", "list").refused(7, "Objects.List", "newer bpfd")


@contextlib.contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """A server that says the same to everyone and hangs up."""
    end = threading.Event()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            while not end.is_set():
                client, _ = listening.accept()
                with client, contextlib.suppress(OSError):
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            end.set()
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(path))
            thread.join()
            path.unlink()


def test_servers_that_are_no_grpc(line: CommandLine) -> None:
    for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n", b""):
        with answering(line.socket, answer):
            line.run("object", "list").refused(5, str(line.socket))


NOISE = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x00" * 5000,
    os.urandom(5000),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(5000),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00\x00\x00\x00\x00",
    b"",
]


def test_garbage_at_the_sockets(bpfctl: CommandLine, daemon: RunningDaemon) -> None:
    for path in (daemon.socket, daemon.read_only_socket):
        for noise in NOISE * 5:
            with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
                client.connect(str(path))
                client.sendall(noise)
    bpfctl.run("object", "list").ok()
    assert "Traceback" not in daemon.log()


def test_garbage_messages(bpfctl: CommandLine, daemon: RunningDaemon) -> None:
    """Frames are whole, their messages are not of the type: each call is refused."""
    with daemon.channel() as channel:
        for method in ("Objects/Load", "Maps/Update", "Links/Attach", "Target/GetTarget"):
            call: Any = channel.unary_unary(f"/bpfd.v1.{method}")
            for noise in (b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f", os.urandom(999)):
                with pytest.raises(grpc.RpcError) as raised:
                    call(noise, timeout=20)
                assert raised.value.code() in (
                    grpc.StatusCode.INTERNAL,
                    grpc.StatusCode.INVALID_ARGUMENT,
                    grpc.StatusCode.UNKNOWN,
                )
        call = channel.unary_unary("/bpfd.v1.Objects/Explode")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", timeout=20)
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    bpfctl.run("object", "list").ok()


def test_three_hundred_connections(bpfctl: CommandLine, daemon: RunningDaemon) -> None:
    """All are served, and all are given back."""
    files = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(daemon.channel()) for _ in range(300)]
        with ThreadPoolExecutor(16) as pool:
            names = pool.map(lambda channel: Api(channel).object_names(), channels)
            assert list(names) == [[]] * 300
        assert len(os.listdir(f"/proc/{daemon.pid}/fd")) >= 300
        bpfctl.run("object", "list").ok()
        sessions = [Api(channel).open_session() for channel in channels[:256]]
        with pytest.raises(grpc.RpcError) as raised:
            Api(channels[-1]).open_session()
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "256" in (raised.value.details() or "")
        assert len({session for session, _ in sessions}) == 256
    assert eventually(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= files + 4)
    bpfctl.run("object", "list").ok()


@pytest.mark.skipif(not clang(), reason="needs clang")
def test_changes_at_the_viewers_socket(bpfctl: CommandLine, daemon: RunningDaemon) -> None:
    (bpfctl.folder / "objects.o").write_bytes(compiled("objects"))
    bpfctl.run("load", "objects.o").ok()
    viewer = ("-t", f"unix:{daemon.read_only_socket}")
    for command in (
        ("load", "objects.o", "--name", "two"),
        ("load", "objects.o", "--verify-only"),
        ("run", "objects.o", "-i", "lo"),
        ("unload", "objects"),
        ("attach", "objects/count_switches", "raw_tracepoint:sched_switch"),
        ("detach", "objects/count_switches"),
        ("map", "set", "objects/obj_runs", "1", "1"),
        ("map", "delete", "objects/obj_runs", "--all"),
        ("events", "objects/obj_runs"),
    ):
        bpfctl.run(*viewer, *command).refused(6, "role", "viewer", context=True)
    assert "objects" in bpfctl.run(*viewer, "object", "list").ok()
    bpfctl.run("unload", "objects").ok()


class Tls:
    """Certificates, and a daemon that listens with them."""

    def __init__(self, line: CommandLine, folder: Path) -> None:
        self.line = line
        self.folder = folder
        self.issue("init")
        self.issue("issue", "server", "--server", "--host", "127.0.0.1")
        self.issue("issue", "viewer", "--client", "--role", "viewer")
        self.port = 0

    def issue(self, *arguments: str, folder: str = "pki") -> None:
        self.line.run("pki", *arguments, "--dir", self.folder / folder).ok()

    def serve(self, make_daemon: MakeDaemon, certificate: str = "pki/server") -> RunningDaemon:
        daemon = make_daemon(
            *("--listen", "127.0.0.1:0", "--tls-ca", str(self.folder / "pki" / "ca.crt")),
            *("--tls-cert", str(self.folder / f"{certificate}.crt")),
            *("--tls-key", str(self.folder / f"{certificate}.key")),
        )
        daemon.start()
        self.port = int(daemon.ready.strip().rpartition(":")[2])
        return daemon

    def target(self, ca: str, certificate: str) -> tuple[str, str]:
        """-t NAME of a target with these files."""
        config = self.folder / "config"
        config.mkdir(exist_ok=True)
        (config / "targets.toml").write_text(
            f'[targets.far]\ntransport = "tcp"\nhost = "127.0.0.1"\nport = {self.port}\n'
            f'ca = "{self.folder}/{ca}.crt"\ncert = "{self.folder}/{certificate}.crt"\n'
            f'key = "{self.folder}/{certificate}.key"\n'
        )
        return ("-t", "far")


def test_tls(line: CommandLine, make_daemon: MakeDaemon) -> None:
    tls = Tls(line, line.folder)
    daemon = tls.serve(make_daemon)
    line.run(*tls.target("pki/ca", "pki/viewer"), "object", "list").ok()
    done = line.run(*tls.target("pki/ca", "pki/viewer"), "unload", "x")
    done.refused(6, "role tracer", "role viewer")
    tls.issue("init", folder="other")
    tls.issue("issue", "viewer", "--client", "--role", "viewer", folder="other")
    done = line.run(*tls.target("other/ca", "pki/viewer"), "object", "list")
    done.refused(5, "not from the CA")
    done = line.run(*tls.target("pki/ca", "other/viewer"), "object", "list")
    done.refused(5, "our certificate", "CA")
    # A server's certificate has no role, and is none of a client.
    done = line.run(*tls.target("pki/ca", "pki/server"), "object", "list")
    assert done.code in (5, 6)
    done.refused(done.code, "certificate")
    done = line.run(*tls.target("pki/ca", "pki/nobody"), "object", "list")
    done.refused(2, "nobody.", "bpfctl pki")
    (line.folder / "pki" / "noise.crt").write_text("noise")
    (line.folder / "pki" / "noise.key").write_text("noise")
    done = line.run(*tls.target("pki/ca", "pki/noise"), "object", "list")
    done.refused(5, "certificate")
    with socket.create_connection(("127.0.0.1", tls.port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
    options = grpc.ssl_channel_credentials((line.folder / "pki" / "ca.crt").read_bytes())
    with (
        grpc.secure_channel(f"127.0.0.1:{tls.port}", options) as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        Api(channel).object_names()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    check_clean(daemon)
    daemon.stop()
    done = line.run(*tls.target("pki/ca", "pki/viewer"), "object", "list")
    done.refused(5, "nobody listens", "--listen")


def expired(folder: Path, name: str) -> None:
    """Puts a certificate in the place of NAME's that ended yesterday."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    old = x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())
    authority = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(old.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now - datetime.timedelta(days=1))
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    new = builder.sign(authority, hashes.SHA256())  # type: ignore[arg-type]
    (folder / f"{name}.crt").write_bytes(new.public_bytes(serialization.Encoding.PEM))


def test_certificates_that_have_expired(line: CommandLine, make_daemon: MakeDaemon) -> None:
    tls = Tls(line, line.folder)
    tls.issue("issue", "late", "--client", "--role", "viewer")
    expired(line.folder / "pki", "late")
    first = tls.serve(make_daemon)
    done = line.run(*tls.target("pki/ca", "pki/late"), "object", "list")
    done.refused(5, "has expired", "pki issue --client")
    first.stop()
    expired(line.folder / "pki", "server")
    tls.serve(make_daemon)
    done = line.run(*tls.target("pki/ca", "pki/viewer"), "object", "list")
    done.refused(5, "has expired", "pki issue --server")


def test_ssh_that_is_refused(line: CommandLine) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        done = line.run("-t", f"ssh://127.0.0.1:{port}", "object", "list")
        done.refused(5, "no SSH server listens", str(port))
        probe.listen()
        accepted = threading.Thread(target=lambda: probe.accept()[0].close())
        accepted.start()
        done = line.run("-t", f"ssh://127.0.0.1:{port}", "object", "list")
        accepted.join()
        done.refused(5, str(port))


@pytest.mark.skipif(SSHD is None or SSH_KEYGEN is None, reason="needs openssh")
def test_ssh_with_a_host_key_that_nobody_knows(line: CommandLine) -> None:
    assert SSHD is not None
    assert SSH_KEYGEN is not None
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder = line.folder
    key = ("-q", "-t", "ed25519", "-N", "", "-f")
    subprocess.run([SSH_KEYGEN, *key, folder / "host"], check=True)
    (folder / ".ssh").mkdir(mode=0o700)
    subprocess.run([SSH_KEYGEN, *key, folder / ".ssh" / "id_ed25519"], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = [f"Port={port}", "ListenAddress=127.0.0.1", f"HostKey={folder}/host"]
    settings += [f"PidFile={folder}/pid", "UsePAM=no", "StrictModes=no"]
    settings += ["PasswordAuthentication=no", f"AuthorizedKeysFile={folder}/nobody"]
    server = subprocess.Popen(
        [
            SSHD,
            "-D",
            "-e",
            "-f",
            "/dev/null",
            *(word for each in settings for word in ("-o", each)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert time.monotonic() < until
        home = {"HOME": str(folder), "SSH_AUTH_SOCK": ""}
        to = ("-t", f"ssh://127.0.0.1:{port}")
        done = line.run(*to, "object", "list", environment=home)
        done.refused(5, "host key", "not known", "ssh ")
        public = " ".join((folder / "host.pub").read_text().split()[:2])
        (folder / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}\n")
        done = line.run(*to, "object", "list", environment=home)
        done.refused(5, "does not let", "by key")
        other = " ".join((folder / ".ssh" / "id_ed25519.pub").read_text().split()[:2])
        (folder / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {other}\n")
        done = line.run(*to, "object", "list", environment=home)
        done.refused(5, "not the one in known_hosts", "ssh-keygen -R")
    finally:
        server.kill()
        server.wait()
