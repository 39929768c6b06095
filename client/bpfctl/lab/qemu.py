# SPDX-License-Identifier: Apache-2.0
"""The command line of QEMU for a board. Nothing is run here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from .recipe import Machine

GUEST = "10.0.2.15"
"""Address of a board's eth0 in the network that only QEMU has
(https://www.qemu.org/docs/master/system/devices/net.html)."""

SSH_PORT = 22
ADB_PORT = 5555

CMDLINE = "quiet panic=-1 init_on_alloc=0 net.ifnames=0"
"""For every kernel: short on the console; reset, not hang, when it panics; the plain names
of interfaces."""

CODE_MIB = 64
"""Room for translated code. QEMU's own choice makes its process some 55 MiB larger and the
board no faster; half of this starts boards a third slower (both measured)."""


@dataclass(frozen=True)
class Hardware:
    """One board to be started."""

    name: str
    memory: int
    """MiB."""
    cpus: int
    ssh_port: int
    """Of 127.0.0.1, leading to the board's SSH server."""
    adb_port: int = 0
    """The same for adbd; 0: none."""
    rtc: str = ""
    """What the clock shows when the board is switched on: "1970-01-01T00:00:00"."""
    cmdline: str = ""
    """For the kernel, beside what every board gets."""


@dataclass(frozen=True)
class Files:
    """Where a board's files are."""

    kernel: Path
    initrd: Path
    pid: Path
    console: Path
    monitor: Path
    wire_local: Path
    """Unix datagram socket of the board's end of its eth1's wire."""
    wire_remote: Path
    """That of the other end."""


def command(machine: Machine, hardware: Hardware, files: Files) -> list[str]:
    """The words of the command that starts the board in the background.

    Runs without privileges: code is translated, the network is QEMU's own, and `restrict`
    lets nothing out of it but answers through the forwarded ports.
    """
    words = [machine.program, "-name", hardware.name]
    words += ["-nodefaults", "-no-user-config", "-display", "none", "-daemonize"]
    words += ["-machine", machine.machine, "-cpu", machine.cpu]
    words += ["-accel", f"tcg,thread=multi,tb-size={CODE_MIB}"]
    words += ["-m", str(hardware.memory), "-smp", str(hardware.cpus)]
    words += ["-kernel", str(files.kernel), "-initrd", str(files.initrd)]
    words += ["-append", _cmdline(machine, hardware)]
    words += ["-pidfile", str(files.pid)]
    words += ["-chardev", f"file,id=console,path={_escaped(files.console)},append=on"]
    words += ["-serial", "chardev:console"]
    words += ["-qmp", f"unix:{_escaped(files.monitor)},server=on,wait=off"]
    words += ["-netdev", _user_network(hardware)]
    words += ["-device", f"virtio-net-pci,netdev=eth0,mac={mac(hardware.name, 0)},romfile="]
    wire = (
        "dgram,id=eth1,local.type=unix,remote.type=unix"
        f",local.path={_escaped(files.wire_local)},remote.path={_escaped(files.wire_remote)}"
    )
    words += ["-netdev", wire]
    words += ["-device", f"virtio-net-pci,netdev=eth1,mac={mac(hardware.name, 1)},romfile="]
    if hardware.rtc:
        words += ["-rtc", f"base={hardware.rtc}"]
    return words


def _cmdline(machine: Machine, hardware: Hardware) -> str:
    return f"console={machine.console} {CMDLINE} {hardware.cmdline}".strip()


def _user_network(hardware: Hardware) -> str:
    ports = [(hardware.ssh_port, SSH_PORT), (hardware.adb_port, ADB_PORT)]
    forwards = [
        f",hostfwd=tcp:127.0.0.1:{outside}-{GUEST}:{inside}"
        for outside, inside in ports
        if outside
    ]
    return "user,id=eth0,ipv6=off,restrict=on" + "".join(forwards)


def mac(name: str, interface: int) -> str:
    """Hardware address of a board's interface, the same whenever it starts.

    Boards of different names have different ones, so that they can be joined; 52:54 is the
    locally administered range that QEMU uses.
    """
    tail = hashlib.sha256(name.encode()).digest()[:3]
    return ":".join(["52", "54", f"{interface:02x}", *(f"{byte:02x}" for byte in tail)])


def _escaped(path: Path) -> str:
    """A path inside a QEMU option: commas are doubled."""
    return str(path).replace(",", ",,")
