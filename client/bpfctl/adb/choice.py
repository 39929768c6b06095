# SPDX-License-Identifier: Apache-2.0
"""Which way leads to a device: the adb server, or none in between."""

from __future__ import annotations

import os

from bpfctl.adb.device import Device
from bpfctl.adb.served import ServedDevice, choose, with_port
from bpfctl.adb.server import find_server


def open_device(serial: str, timeout: float) -> Device:
    """The device `serial`; empty: ANDROID_SERIAL, else the only one there is.

    Through the adb server when one runs or `adb` is there to start it, else directly. Raises
    AdbError within about `timeout` seconds, not counting the start of a server.
    """
    serial = with_port(serial or os.environ.get("ANDROID_SERIAL", ""))
    server = find_server(timeout)
    if server is not None:
        return ServedDevice(server, choose(server, serial, timeout))
    from bpfctl.adb.direct import open_direct

    return open_direct(serial, timeout)
