# SPDX-License-Identifier: Apache-2.0
"""A small certificate authority for targets over TCP.

Keys are P-256. The role of a client stands in its certificate as the subject alternative
name `bpfd:role:ROLE` (a URI), where the daemon reads it.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from bpfctl.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

Role = Literal["viewer", "tracer", "operator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

CA_DAYS = 3650
DAYS = 365

_CLOCK_SKEW = datetime.timedelta(minutes=5)
"""Boards without a battery-backed clock are a little behind."""


@dataclass(frozen=True)
class Issued:
    """Files of a certificate."""

    certificate: Path
    key: Path
    not_after: datetime.datetime


def init(folder: Path, name: str = "bpfd", days: int = CA_DAYS) -> Issued:
    """Make a CA: ca.crt and ca.key in `folder`. Raises InvalidArgument where there is one."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    certificate, key_path = folder / "ca.crt", folder / "ca.key"
    for path in (certificate, key_path):
        if path.exists():
            raise InvalidArgument(str(path), "there is a CA already; use another folder")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"{name} CA")
    usage = _usage(sign_certificates=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _builder(subject, subject, key, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
    )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return _write(builder, key, key, certificate, key_path)


def issue_server(folder: Path, name: str, hosts: Sequence[str], days: int = DAYS) -> Issued:
    """A certificate for a daemon that clients reach as any of `hosts` (names, addresses)."""
    from cryptography.x509.oid import ExtendedKeyUsageOID

    if not hosts:
        raise InvalidArgument("hosts", "name at least one address that clients connect to")
    names = [_host(host) for host in hosts]
    return _issue(folder, name, names, ExtendedKeyUsageOID.SERVER_AUTH, days)


def issue_client(folder: Path, name: str, role: Role, days: int = DAYS) -> Issued:
    """A certificate that lets a client in with a role."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    if role not in ROLES:
        raise InvalidArgument("role", f"{role!r} is not one of {', '.join(ROLES)}")
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"bpfd:role:{role}")]
    return _issue(folder, name, names, ExtendedKeyUsageOID.CLIENT_AUTH, days)


def _issue(
    folder: Path,
    name: str,
    names: Sequence[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    days: int,
) -> Issued:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    if not name or "/" in name or name in (".", "..", "ca"):
        raise InvalidArgument("name", f"{name!r} cannot name a file")
    ca, ca_key = _load(folder)
    certificate, key_path = folder / f"{name}.crt", folder / f"{name}.key"
    key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _builder(_name(name), ca.subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(authority, critical=False)
        .add_extension(identifier, critical=False)
    )
    return _write(builder, key, ca_key, certificate, key_path)


def _load(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    except FileNotFoundError:
        raise NotFound("CA in", str(folder), hint="make one with `bpfctl pki init`") from None
    except ValueError as error:
        raise InvalidArgument(str(folder), f"the CA's files are damaged: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidArgument(str(folder / "ca.key"), "not a key that `bpfctl pki init` made")
    return ca, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    from cryptography import x509

    if days <= 0:
        raise InvalidArgument("days", f"{days} is not a time to be valid")
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _write(
    builder: x509.CertificateBuilder,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    certificate_path: Path,
    key_path: Path,
) -> Issued:
    from cryptography.hazmat.primitives import hashes, serialization

    certificate = builder.sign(signer, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _put(key_path, private)
    _put(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))
    return Issued(certificate_path, key_path, certificate.not_valid_after_utc)


def _put(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _name(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        return x509.DNSName(text)
    except ValueError:
        raise InvalidArgument("host", f"{text!r} is neither a name nor an address") from None


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
