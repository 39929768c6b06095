# SPDX-License-Identifier: Apache-2.0
"""The adb server of the workstation, by its "smart socket" protocol.

Sources: OVERVIEW.TXT and SERVICES.TXT of the Android platform's packages/modules/adb. A
request is four hexadecimal digits of length and a text; the answer is OKAY or FAIL, and then
what the request is for. The protocol has not changed since version 1.0.20 of 2009, so any
server will do.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass

from bpfctl.adb.device import AdbError, ServiceRefused, Stream

DEFAULT_PORT = 5037
_START_SECONDS = 20
_MAX_TEXT = 0xFFFF


@dataclass(frozen=True)
class ServerAddress:
    """Where the server listens: on TCP, or on a unix socket."""

    host: str = ""
    """Empty: this machine."""
    port: int = DEFAULT_PORT
    path: str = ""
    """Of a unix socket, in place of host and port; abstract ones begin with NUL."""
    variable: str = ""
    """The environment variable that says so; empty: the usual address."""

    def __str__(self) -> str:
        if self.path:
            return self.path.replace("\0", "@")
        host = self.host or "127.0.0.1"
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def is_here(self) -> bool:
        """Whether a server can be started there."""
        return bool(self.path) or self.host in ("", "localhost", "127.0.0.1", "::1")

    def connect(self, timeout: float) -> socket.socket:
        """Raises OSError."""
        if self.path:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(timeout)
            try:
                connection.connect(self.path)
            except BaseException:
                connection.close()
                raise
            return connection
        connection = socket.create_connection((self.host or "127.0.0.1", self.port), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def address_from_environment() -> ServerAddress:
    """As adb finds it: ADB_SERVER_SOCKET, else ANDROID_ADB_SERVER_ADDRESS and _PORT.

    Raises AdbError for a value that is none.
    """
    spec = os.environ.get("ADB_SERVER_SOCKET", "")
    if spec:
        return _parse_spec(spec, "ADB_SERVER_SOCKET")
    host = os.environ.get("ANDROID_ADB_SERVER_ADDRESS", "")
    port = os.environ.get("ANDROID_ADB_SERVER_PORT", "")
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        raise AdbError(f"ANDROID_ADB_SERVER_PORT is not a port: {port!r}")
    variable = "ANDROID_ADB_SERVER_ADDRESS" if host else ""
    variable = variable or ("ANDROID_ADB_SERVER_PORT" if port else "")
    return ServerAddress(host, int(port or DEFAULT_PORT), variable=variable)


def _parse_spec(spec: str, variable: str) -> ServerAddress:
    kind, _, rest = spec.partition(":")
    if kind in ("local", "localfilesystem") and rest:
        return ServerAddress(path=rest, variable=variable)
    if kind == "localabstract" and rest:
        return ServerAddress(path=f"\0{rest}", variable=variable)
    found = re.fullmatch(r"(?:(?:\[([^\]]+)\]|([^:\[\]]+)):)?(\d{1,5})", rest)
    if kind != "tcp" or found is None or not 0 < int(found.group(3)) < 65536:
        raise AdbError(
            f"{variable} is not the address of a server: {spec!r}",
            "adb takes tcp:PORT, tcp:HOST:PORT, localfilesystem:PATH and localabstract:NAME",
        )
    host = found.group(1) or found.group(2) or ""
    return ServerAddress(host, int(found.group(3)), variable=variable)


class RequestFailed(Exception):
    """The server's own words for why it does not do what it was asked."""


class AdbServer:
    """A running adb server; each request is a connection of its own."""

    def __init__(self, address: ServerAddress, timeout: float) -> None:
        self.address = address
        self._timeout = timeout

    def version(self) -> int:
        """Its protocol version, such as 41.

        Raises OSError when nobody listens, AdbError when that is no adb server.
        """
        answer = self.query("host:version")
        try:
            return int(answer, 16)
        except ValueError:
            raise self._stranger(answer.encode()) from None

    def devices(self) -> dict[str, str]:
        """State of each device by its serial number, such as "device" or "offline"."""
        lines = self.query("host:devices").splitlines()
        pairs = [line.partition("\t") for line in lines if "\t" in line]
        return {serial: state for serial, _, state in pairs}

    def query(self, request: str) -> str:
        """A request that is answered by a text; raises RequestFailed, OSError, AdbError."""
        with self._request(request, self._timeout) as connection:
            return self._text(connection)

    def open(self, serial: str, service: str, timeout: float) -> Stream:
        """A service of a device; raises RequestFailed, ServiceRefused, OSError, AdbError."""
        connection = self._request(f"host:transport:{serial}", timeout)
        try:
            try:
                self._ask(connection, service)
            except RequestFailed as error:
                raise ServiceRefused(str(error)) from None
            connection.settimeout(None)
        except BaseException:
            connection.close()
            raise
        return _Stream(connection)

    def _request(self, request: str, timeout: float) -> socket.socket:
        connection = self.address.connect(timeout)
        try:
            self._ask(connection, request)
        except BaseException:
            connection.close()
            raise
        return connection

    def _ask(self, connection: socket.socket, request: str) -> None:
        data = request.encode()
        if len(data) > _MAX_TEXT:
            raise ValueError(f"a request to adb has at most {_MAX_TEXT} bytes")
        connection.sendall(b"%04x%s" % (len(data), data))
        status = self._exactly(connection, 4)
        if status == b"FAIL":
            raise RequestFailed(self._text(connection))
        if status != b"OKAY":
            raise self._stranger(status)

    def _text(self, connection: socket.socket) -> str:
        digits = self._exactly(connection, 4)
        try:
            size = int(digits, 16)
        except ValueError:
            raise self._stranger(digits) from None
        return self._exactly(connection, size).decode(errors="replace")

    def _exactly(self, connection: socket.socket, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = connection.recv(size - len(data))
            if not piece:
                raise ConnectionResetError("the adb server closed the connection")
            data += piece
        return bytes(data)

    def _stranger(self, answer: bytes) -> AdbError:
        return AdbError(
            f"what listens on {self.address} is not an adb server (it says {answer!r})",
            "set ANDROID_ADB_SERVER_PORT to the port of the adb server",
        )


class _Stream:
    """A connection to the server that has become a service of a device."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.recv = connection.recv
        self.sendall = connection.sendall
        self.settimeout = connection.settimeout

    def close(self) -> None:
        with contextlib.suppress(OSError):
            # close() alone does not wake a thread that waits in recv(2).
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def find_server(timeout: float) -> AdbServer | None:
    """The server, started when it does not run and there is an `adb` to start it.

    None: none runs, and there is no `adb` on PATH. Raises AdbError.
    """
    address = address_from_environment()
    server = AdbServer(address, timeout)
    try:
        server.version()
        return server
    except (ConnectionRefusedError, FileNotFoundError):
        pass
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise AdbError(f"the adb server at {address} does not answer: {reason}") from None
    if not address.is_here:
        raise AdbError(
            f"no adb server listens on {address} ({address.variable})",
            f"start one there with `adb -a start-server`, or unset {address.variable}",
        )
    program = shutil.which("adb")
    if program is None:
        return None
    _start(program, address)
    return server


def _start(program: str, address: ServerAddress) -> None:
    # A file and no pipe: the server that stays behind may keep what it was given open.
    with tempfile.TemporaryFile() as said:
        try:
            status = subprocess.run(
                [program, "start-server"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=_START_SECONDS,
            ).returncode
            reason = f"exit status {status}"
        except subprocess.TimeoutExpired:
            status, reason = -1, f"it did not end within {_START_SECONDS} s"
        except OSError as error:
            status, reason = -1, error.strerror or str(error)
        said.seek(0)
        words = said.read(4096).decode(errors="replace").split("\n")
    if status:
        lines = [line.strip("* ") for line in words if line.strip()]
        raise AdbError(
            f"`{program} start-server` failed: {'; '.join(lines) or reason}",
            f"see what is the matter with `adb devices`, server address {address}",
        )
