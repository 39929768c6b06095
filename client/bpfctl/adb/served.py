# SPDX-License-Identifier: Apache-2.0
"""Devices that the adb server knows: which one is meant, and when it is ready."""

from __future__ import annotations

import ipaddress
import re
import time

from bpfctl.adb.device import AdbError, ServiceRefused, Stream
from bpfctl.adb.server import AdbServer, RequestFailed

READY = ("device", "recovery", "rescue")
"""States in which adbd runs services."""
_PASSING = ("offline", "connecting", "authorizing")
"""States that a device may leave by itself within seconds."""
_POLL_SECONDS = 0.1
_CALL_SECONDS = 1.0
"""How often the server is told to connect to a device on the network."""

_USUAL_PORT = 5555
"""DEFAULT_ADB_LOCAL_TRANSPORT_PORT of adb.h."""

_NETWORK = re.compile(r"(?:\[[^\]]+\]|[^:\[\]]+):\d{1,5}")


def is_address(serial: str) -> bool:
    """Whether the serial number is the HOST:PORT of a device on the network."""
    return _NETWORK.fullmatch(serial) is not None


def with_port(serial: str) -> str:
    """An IP address with adb's usual port; any other serial number as it is."""
    try:
        address = ipaddress.ip_address(serial.strip("[]"))
    except ValueError:
        return serial
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"{host}:{_USUAL_PORT}"


class ServedDevice:
    """A device through the server; each service is a connection to the server."""

    def __init__(self, server: AdbServer, serial: str) -> None:
        self.serial = serial
        self._server = server
        self._shell_v2: bool | None = None

    def open(self, service: str, timeout: float) -> Stream:
        try:
            return self._server.open(self.serial, service, timeout)
        except RequestFailed as error:
            raise self.trouble() or _refused(self.serial, str(error)) from None
        except ServiceRefused:
            raise
        except (ConnectionError, FileNotFoundError):
            raise self.trouble() or self._server_gone() from None

    def has_shell_v2(self, timeout: float) -> bool:
        if self._shell_v2 is None:
            try:
                features = self._server.query(f"host-serial:{self.serial}:features")
            except RequestFailed as error:
                trouble = self.trouble()
                if trouble is not None:
                    raise trouble from None
                # A server of before version 36 knows no features: its devices have none.
                if "unknown" not in str(error).lower():
                    raise _refused(self.serial, str(error)) from None
                features = ""
            except OSError:
                raise self._server_gone() from None
            self._shell_v2 = "shell_v2" in features.split(",")
        return self._shell_v2

    def trouble(self) -> AdbError | None:
        try:
            state = self._server.devices().get(self.serial)
        except (OSError, RequestFailed):
            return self._server_gone()
        except AdbError as error:
            return error
        if state in READY:
            return None
        if state is None:
            return AdbError(
                f"{self.serial} is gone",
                "was it unplugged, or restarted? `adb devices` shows what is there",
            )
        return _unready(self.serial, state)

    def close(self) -> None:
        pass

    def _server_gone(self) -> AdbError:
        return AdbError(
            f"the adb server at {self._server.address} has ended",
            "an adb of another version ends the one that runs; run the command again",
        )


def choose(server: AdbServer, serial: str, timeout: float) -> str:
    """The serial number of the device that is meant, once it is ready; raises AdbError."""
    deadline = time.monotonic() + timeout
    next_call = 0.0
    try:
        while True:
            found, state = _pick(server.devices(), serial)
            if state in READY:
                return found
            now = time.monotonic()
            calls = is_address(found) and state in ("", "offline")
            if now >= deadline or not (calls or state in _PASSING):
                raise _unready(found, state) if state else _missing(server.devices(), found)
            if calls and now >= next_call:
                # What the server knew of the device before may end what was just begun.
                next_call = now + _CALL_SECONDS
                _connect(server, found, state)
            else:
                time.sleep(_POLL_SECONDS)
    except RequestFailed as error:
        raise AdbError(f"the adb server at {server.address}: {error}") from None
    except OSError as error:
        reason = str(error) or type(error).__name__
        raise AdbError(f"the adb server at {server.address}: {reason}") from None


def _pick(devices: dict[str, str], serial: str) -> tuple[str, str]:
    """Serial number and state, which is empty for a device that the server does not know."""
    if serial:
        return serial, devices.get(serial, "")
    if len(devices) > 1:
        raise AdbError(
            f"there are several devices: {_listed(devices)}",
            "choose one with --adb SERIAL (`bpfctl target add`), -t adb:SERIAL or "
            "ANDROID_SERIAL",
        )
    if not devices:
        raise AdbError(
            "adb knows no device",
            "plug one in and allow USB debugging, or name one on the network with "
            "-t adb:HOST:PORT",
        )
    return next(iter(devices.items()))


def _listed(devices: dict[str, str]) -> str:
    return ", ".join(
        serial if state == "device" else f"{serial} ({state})"
        for serial, state in devices.items()
    )


def _missing(devices: dict[str, str], serial: str) -> AdbError:
    if not devices:
        return AdbError(f"adb knows no device {serial!r}, nor any other", "is it plugged in?")
    return AdbError(
        f"adb knows no device {serial!r}", f"there is {_listed(devices)}; see `adb devices`"
    )


def _connect(server: AdbServer, serial: str, state: str) -> None:
    """Has the server connect to a device on the network, as `adb connect` does."""
    if state == "offline":
        server.query(f"host:disconnect:{serial}")
    answer = server.query(f"host:connect:{serial}").strip()
    # It answers OKAY whatever happens; only the words tell.
    if not answer.startswith(("connected to", "already connected")):
        if "authenticate" in answer:
            raise _unready(serial, "unauthorized")
        raise AdbError(answer, "does adbd listen there? `adb tcpip 5555` makes a device do so")


def _refused(serial: str, words: str) -> AdbError:
    return AdbError(f"adb does not let us to {serial}: {words}")


def _unready(serial: str, state: str) -> AdbError:
    """Why a device in that state is of no use, in adb's own word for the state."""
    if state == "unauthorized":
        return AdbError(
            f"{serial} does not trust this computer (unauthorized)",
            "accept the question on its screen, or put ~/.android/adbkey.pub into its adb_keys",
        )
    if state.startswith("no permissions"):
        return AdbError(
            f"this user may not open the USB device {serial} ({state})",
            "a udev rule is missing (Debian: android-sdk-platform-tools-common), "
            "or the group plugdev",
        )
    if state in _PASSING:
        return AdbError(
            f"{serial} is {state}", "does it hang, or is it starting? try `adb reconnect`"
        )
    return AdbError(
        f"{serial} is in the state {state!r}, where it runs no shell",
        "`adb reboot` starts it again",
    )
