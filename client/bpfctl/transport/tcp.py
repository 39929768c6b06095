# SPDX-License-Identifier: Apache-2.0
"""A daemon that listens on TCP, with certificates on both sides."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from bpfctl.config import TcpTarget
from bpfctl.errors import InvalidArgument, TargetUnreachable
from bpfctl.transport import channel_options

# X509_V_ERR_... of openssl's x509_vfy.h.
_NOT_YET_VALID = 9
_EXPIRED = 10
_UNKNOWN_CA = (18, 19, 20, 21)
_WRONG_NAME = (62, 64)


class TcpConnection:
    """A TLS channel; the certificate's subject alternative name must match the address."""

    def __init__(self, name: str, config: TcpTarget) -> None:
        import grpc

        self._name = name
        self._config = config
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_read(config.ca, "ca"),
            private_key=_read(config.key, "key"),
            certificate_chain=_read(config.cert, "cert"),
        )
        self.channel = grpc.secure_channel(
            config.address, credentials, options=channel_options(keepalive=True)
        )

    def explain(self, details: str) -> TargetUnreachable:
        return why_not(self._name, self._config, details)

    def close(self) -> None:
        self.channel.close()


def _read(path: str, setting: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise InvalidArgument(
            f"{setting} {path}", f"{error.strerror}; `bpfctl pki` makes certificates"
        ) from None


def why_not(name: str, config: TcpTarget, details: str) -> TargetUnreachable:
    """Why nobody answers there, found by a handshake with the same files."""
    try:
        context = ssl.create_default_context(cafile=str(Path(config.ca).expanduser()))
        context.load_cert_chain(Path(config.cert).expanduser(), Path(config.key).expanduser())
    except (ssl.SSLError, OSError) as error:
        return TargetUnreachable(
            name, f"the certificate files do not fit together: {error}", "issue them again"
        )
    context.set_alpn_protocols(["h2"])
    address = config.address
    try:
        with (
            socket.create_connection((config.host, config.port), timeout=5) as raw,
            context.wrap_socket(raw, server_hostname=config.host) as wrapped,
        ):
            # TLS 1.3: what the server thinks of our certificate comes with its first data.
            refused_silently = not wrapped.recv(1)
    except ssl.SSLCertVerificationError as error:
        return TargetUnreachable(name, *_server_refused(error, config))
    except ssl.SSLError as error:
        return TargetUnreachable(name, *_client_refused(error, address))
    except socket.gaierror as error:
        return TargetUnreachable(name, f"{config.host} has no address: {error.strerror}")
    except ConnectionRefusedError:
        return TargetUnreachable(
            name,
            f"nobody listens on {address}",
            "start the daemon there with `bpfd serve --listen`",
        )
    except TimeoutError:
        return TargetUnreachable(
            name, f"{address} does not answer", "a firewall, a wrong address?"
        )
    except OSError as error:
        return TargetUnreachable(name, f"{address}: {error.strerror or error}")
    if refused_silently:
        return TargetUnreachable(name, *_own_certificate(config))
    return TargetUnreachable(name, f"{address} broke the connection: {details}")


def _own_certificate(config: TcpTarget) -> tuple[str, str]:
    """gRPC's servers close the connection without an alert: look at what we showed them."""
    import datetime

    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(Path(config.cert).expanduser().read_bytes())
    if certificate.not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        return (
            f"our certificate {config.cert} has expired",
            "issue a new one with `bpfctl pki issue --client`",
        )
    return (
        f"it refused our certificate {config.cert}",
        "is it from the CA that the daemon trusts (--tls-ca), and a client's?",
    )


def _server_refused(error: ssl.SSLCertVerificationError, config: TcpTarget) -> tuple[str, str]:
    code = error.verify_code
    if code == _EXPIRED:
        return "its certificate has expired", "issue a new one with `bpfctl pki issue --server`"
    if code == _NOT_YET_VALID:
        return "its certificate is not valid yet", "compare the clocks of both machines"
    if code in _UNKNOWN_CA:
        return (
            f"its certificate is not from the CA in {config.ca}",
            "use the ca.crt of the folder that issued the server's certificate",
        )
    if code in _WRONG_NAME:
        return (
            f"its certificate is not for {config.host}",
            f"issue one with `bpfctl pki issue --server --host {config.host}`",
        )
    return f"its certificate was refused: {error.verify_message}", ""


def _client_refused(error: ssl.SSLError, address: str) -> tuple[str, str]:
    reason = (error.reason or str(error)).upper()
    issue = "issue one with `bpfctl pki issue --client`"
    if "EXPIRED" in reason:
        return "it says that our certificate has expired", issue
    if "UNKNOWN_CA" in reason:
        return "it does not know the CA of our certificate", "use one of the CA that it trusts"
    if "CERTIFICATE" in reason:
        return f"it refused our certificate ({reason.lower().replace('_', ' ')})", issue
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason:
        return f"{address} does not speak TLS", "is that the daemon's port?"
    return f"the TLS handshake failed: {reason.lower().replace('_', ' ')}", ""
