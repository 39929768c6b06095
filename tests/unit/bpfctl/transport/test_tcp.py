# SPDX-License-Identifier: Apache-2.0
"""Mutual TLS: what works, and what each kind of wrong certificate says."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import grpc
import pytest
from bpfctl import pki
from bpfctl.config import TcpTarget
from bpfctl.errors import InvalidArgument, TargetUnreachable
from bpfctl.target import Target

from tests.unit.bpfctl.fake_daemon import FakeDaemon


def serve(ca: Path, server: pki.Issued) -> FakeDaemon:
    credentials = grpc.ssl_server_credentials(
        [(server.key.read_bytes(), server.certificate.read_bytes())],
        root_certificates=ca.read_bytes(),
        require_client_auth=True,
    )
    return FakeDaemon("127.0.0.1:0", credentials)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    pki.init(folder)
    pki.issue_server(folder, "server", ["127.0.0.1", "localhost"])
    pki.issue_client(folder, "client", "operator")
    return folder


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[FakeDaemon]:
    server = pki.Issued(
        folder / "server.crt", folder / "server.key", datetime.datetime.now(datetime.UTC)
    )
    with serve(folder / "ca.crt", server) as fake:
        yield fake


def settings(
    folder: Path, port: int, host: str = "127.0.0.1", ca: str = "ca.crt", name: str = "client"
) -> TcpTarget:
    return TcpTarget(
        host, port, str(folder / ca), str(folder / f"{name}.crt"), str(folder / f"{name}.key")
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connects(folder: Path, daemon: FakeDaemon, host: str) -> None:
    with Target.open("edge", settings(folder, daemon.port, host)) as target:
        assert target.info().hostname == "fake"


def refused(config: TcpTarget) -> str:
    with pytest.raises(TargetUnreachable) as caught:
        Target.open("edge", config)
    return str(caught.value)


def test_server_of_another_ca(folder: Path, daemon: FakeDaemon, tmp_path: Path) -> None:
    pki.init(tmp_path)
    pki.issue_client(tmp_path, "client", "operator")
    assert "is not from the CA in" in refused(settings(tmp_path, daemon.port))


def test_client_of_another_ca(folder: Path, daemon: FakeDaemon, tmp_path: Path) -> None:
    pki.init(tmp_path)
    pki.issue_client(tmp_path, "client", "operator")
    (tmp_path / "theirs.crt").write_bytes((folder / "ca.crt").read_bytes())
    said = refused(settings(tmp_path, daemon.port, ca="theirs.crt"))
    assert "refused our certificate" in said
    assert "--tls-ca" in said


def test_wrong_host(folder: Path) -> None:
    other = pki.issue_server(folder, "other", ["board.lan", "10.0.0.7"])
    with serve(folder / "ca.crt", other) as fake:
        said = refused(settings(folder, fake.port))
    assert "is not for 127.0.0.1" in said
    assert "--host 127.0.0.1" in said


@contextlib.contextmanager
def in_the_past() -> Iterator[None]:
    class Past(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Past:
            return cls(2020, 1, 1, tzinfo=tz)

    with mock.patch.object(datetime, "datetime", Past):
        yield


def test_expired_server(folder: Path) -> None:
    with in_the_past():
        issued = pki.issue_server(folder, "old", ["127.0.0.1"])
    with serve(folder / "ca.crt", issued) as fake:
        said = refused(settings(folder, fake.port))
    assert "its certificate has expired" in said
    assert "pki issue --server" in said


def test_expired_client(folder: Path, daemon: FakeDaemon) -> None:
    with in_the_past():
        pki.issue_client(folder, "former", "operator")
    assert "has expired" in refused(settings(folder, daemon.port, name="former"))


def test_nobody_listens(folder: Path) -> None:
    assert "nobody listens" in refused(settings(folder, 1))


def test_plain_text_server_is_refused(folder: Path) -> None:
    with FakeDaemon("127.0.0.1:0") as fake:
        said = refused(settings(folder, fake.port))
        assert fake.target.calls == 0
    assert "does not speak TLS" in said or "handshake" in said


def test_files_that_are_missing_or_do_not_fit(folder: Path, daemon: FakeDaemon) -> None:
    with pytest.raises(InvalidArgument, match="bpfctl pki"):
        Target.open("edge", settings(folder, daemon.port, name="nobody"))
    mixed = TcpTarget(
        "127.0.0.1",
        daemon.port,
        str(folder / "ca.crt"),
        str(folder / "client.crt"),
        str(folder / "server.key"),
    )
    assert "do not fit together" in refused(mixed)
