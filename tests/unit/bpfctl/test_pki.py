# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl import pki
from bpfctl.errors import InvalidArgument, NotFound
from cryptography import x509


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def alternative_names(path: Path) -> x509.SubjectAlternativeName:
    return read(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_certificates_are_of_the_ca_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    ca = pki.init(folder)
    server = pki.issue_server(folder, "board", ["board.lan", "10.0.0.7", "::1"])
    client = pki.issue_client(folder, "alice", "operator")
    for issued in (ca, server, client):
        read(issued.certificate).verify_directly_issued_by(read(ca.certificate))
        assert issued.key.stat().st_mode & 0o777 == 0o600
        assert issued.certificate.stat().st_mode & 0o777 == 0o600
    names = alternative_names(server.certificate)
    assert names.get_values_for_type(x509.DNSName) == ["board.lan"]
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == [
        "10.0.0.7",
        "::1",
    ]
    roles = alternative_names(client.certificate)
    assert roles.get_values_for_type(x509.UniformResourceIdentifier) == ["bpfd:role:operator"]


def test_ca_is_never_overwritten(tmp_path: Path) -> None:
    first = pki.init(tmp_path).key.read_bytes()
    with pytest.raises(InvalidArgument, match="there is a CA already"):
        pki.init(tmp_path)
    assert (tmp_path / "ca.key").read_bytes() == first


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="pki init"):
        pki.issue_client(tmp_path, "a", "viewer")
    pki.init(tmp_path)
    for name in ("", "../x", "ca", ".."):
        with pytest.raises(InvalidArgument):
            pki.issue_client(tmp_path, name, "viewer")
    with pytest.raises(InvalidArgument, match="role"):
        pki.issue_client(tmp_path, "a", "king")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="at least one"):
        pki.issue_server(tmp_path, "a", [])
    with pytest.raises(InvalidArgument, match="days"):
        pki.issue_client(tmp_path, "a", "viewer", days=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.crt", "ca.key"]
