# SPDX-License-Identifier: Apache-2.0
"""Devices of the Android debug bridge: their services as streams, and a shell on them.

Through the adb server of the workstation where there is one, else straight to the device's
adbd by the library adb-shell. Nothing is forwarded: no port is opened on either side.
"""

from __future__ import annotations

from bpfctl.adb.choice import open_device
from bpfctl.adb.device import AdbError, Device, ServiceRefused, Stream

__all__ = ["AdbError", "Device", "ServiceRefused", "Stream", "open_device"]
