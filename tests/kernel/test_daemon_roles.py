# SPDX-License-Identifier: Apache-2.0
"""Roles by socket and by certificate, and the audit log."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from bpfd.v1 import (
    objects_pb2,
    objects_pb2_grpc,
    target_pb2,
    target_pb2_grpc,
)
from tests.kernel.conftest import MakeDaemon, RunningDaemon


def _role(channel: grpc.Channel) -> str:
    stub = target_pb2_grpc.TargetStub(channel)
    return stub.GetTarget(target_pb2.GetTargetRequest(), timeout=20).role


def test_the_socket_is_the_role(channel: grpc.Channel, viewer_channel: grpc.Channel) -> None:
    assert _role(channel) == "operator"
    assert _role(viewer_channel) == "viewer"


def test_a_viewer_loads_nothing_and_it_is_written_down(
    daemon: RunningDaemon, viewer_channel: grpc.Channel
) -> None:
    request = objects_pb2.LoadRequest(name="x", elf=b"\x7fELF")
    with pytest.raises(grpc.RpcError) as caught:
        objects_pb2_grpc.ObjectsStub(viewer_channel).Load(request)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert caught.value.details() == (
        "Objects.Load needs role tracer, and there is only role viewer"
    )
    (line,) = map(json.loads, daemon.audit_log.read_text().splitlines())
    assert (line["role"], line["rpc"], line["outcome"]) == (
        "viewer",
        "Objects.Load",
        "PERMISSION_DENIED",
    )
    assert line["request"] == {"name": "x", "elf": "4 bytes"}


def test_a_message_that_is_too_large_is_refused_and_the_daemon_lives(
    daemon: RunningDaemon, channel: grpc.Channel
) -> None:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"unix:{daemon.socket}", options) as boundless:
        stub = objects_pb2_grpc.ObjectsStub(boundless)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Load(objects_pb2.LoadRequest(elf=bytes(81 << 20)), timeout=60)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert _role(channel) == "operator"


class Authority:
    """A certificate authority in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key, self.certificate = self._make("ca", None, [])

    def _make(self, name: str, issuer: Any, uris: list[str]) -> tuple[Any, Any]:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        names: list[x509.GeneralName] = [x509.DNSName("localhost")]
        names += map(x509.UniformResourceIdentifier, uris)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer[1].subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), True)
            .add_extension(x509.SubjectAlternativeName(names), False)
            .sign(issuer[0] if issuer else key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        (self.folder / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
        (self.folder / f"{name}.key").write_bytes(
            key.private_bytes(
                pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return key, certificate

    def issue(self, name: str, *uris: str) -> None:
        self._make(name, (self.key, self.certificate), list(uris))

    def channel(self, port: int, client: str) -> grpc.Channel:
        root, certificate, key = (
            (self.folder / name).read_bytes()
            for name in ("ca.pem", f"{client}.pem", f"{client}.key")
        )
        credentials = grpc.ssl_channel_credentials(root, key, certificate)
        return grpc.secure_channel(f"localhost:{port}", credentials)


@pytest.fixture
def tls(make_daemon: MakeDaemon, tmp_path: Path) -> tuple[Authority, int, RunningDaemon]:
    authority = Authority(tmp_path)
    authority.issue("target")
    daemon = make_daemon(
        *("--listen", "localhost:0", "--tls-ca", f"{tmp_path}/ca.pem"),
        *("--tls-cert", f"{tmp_path}/target.pem", "--tls-key", f"{tmp_path}/target.key"),
    )
    daemon.start()
    return authority, int(daemon.ready.strip().rpartition(":")[2]), daemon


@pytest.mark.parametrize("role", ["viewer", "tracer", "operator", "admin"])
def test_the_certificate_is_the_role(
    tls: tuple[Authority, int, RunningDaemon], role: str
) -> None:
    authority, port, _ = tls
    authority.issue("client", f"bpfd:role:{role}")
    with authority.channel(port, "client") as channel:
        assert _role(channel) == role


def test_the_audit_log_has_the_name_of_the_certificate(
    tls: tuple[Authority, int, RunningDaemon],
) -> None:
    authority, port, daemon = tls
    authority.issue("ann", "bpfd:role:tracer")
    with authority.channel(port, "ann") as channel:
        request = objects_pb2.UnloadRequest(name="nothing")
        with pytest.raises(grpc.RpcError) as caught:
            objects_pb2_grpc.ObjectsStub(channel).Unload(request, timeout=20)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    (line,) = map(json.loads, daemon.audit_log.read_text().splitlines())
    assert (line["name"], line["role"], line["outcome"]) == ("ann", "tracer", "NOT_FOUND")
    assert line["peer"].startswith("ipv")


def test_a_certificate_without_a_role_may_nothing(
    tls: tuple[Authority, int, RunningDaemon],
) -> None:
    authority, port, _ = tls
    authority.issue("nobody")
    with authority.channel(port, "nobody") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            _role(channel)
        assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert "exactly one URI" in (caught.value.details() or "")


def test_no_certificate_or_one_of_another_authority_gets_no_connection(
    tls: tuple[Authority, int, RunningDaemon], tmp_path: Path
) -> None:
    port = tls[1]
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    other.issue("mallory", "bpfd:role:admin")
    root = (tmp_path / "ca.pem").read_bytes()
    pair = [(tmp_path / "other" / name).read_bytes() for name in ("mallory.key", "mallory.pem")]
    for credentials in (
        grpc.ssl_channel_credentials(root),
        grpc.ssl_channel_credentials(root, *pair),
    ):
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                _role(channel)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    with grpc.insecure_channel(f"localhost:{port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            _role(channel)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_port_that_is_taken(
    tls: tuple[Authority, int, RunningDaemon], make_daemon: MakeDaemon
) -> None:
    _, port, first = tls
    second = make_daemon(*first.arguments)
    second.arguments[1] = f"localhost:{port}"
    with pytest.raises(AssertionError, match=f"cannot listen on localhost:{port}"):
        second.start()
    assert not second.socket.exists()
