# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import bcrypt
import pytest
from bpfctl.lab import modules, rootfs
from bpfctl.lab.keys import Keys
from bpfctl.lab.recipe import system

from tests.unit.bpfctl.lab import newc
from tests.unit.bpfctl.lab.elf import module

KEYS = Keys(Path("/k/id"), "ssh-ed25519 AAAA me\n", "ssh-ed25519 BBBB", b"\0host")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with programs of this machine in place of a board's, and their libraries."""
    program = Path(shutil.which("dpkg") or "/bin/sh").resolve()
    libraries = tmp_path / "root" / "usr" / "lib"
    libraries.mkdir(parents=True)
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        path = next((word for word in line.split() if word.startswith("/")), None)
        if path:
            shutil.copy(path, libraries)
    for folder, name in (
        ("sbin", "dropbear"),
        ("sbin", "adbd"),
        ("bin", "busybox"),
        ("bin", "mksh-static"),
    ):
        (tmp_path / "root/usr" / folder).mkdir(exist_ok=True)
        shutil.copy(program, tmp_path / "root/usr" / folder / name)
    return tmp_path / "root"


@pytest.fixture
def closure(tmp_path: Path) -> modules.Closure:
    folder = tmp_path / "modules" / "kernel"
    folder.mkdir(parents=True)
    (folder / "failover.ko").write_bytes(module(depends=""))
    (folder / "virtio_net.ko").write_bytes(module(depends="failover", alias="virtio:1"))
    (folder / "tls.ko").write_bytes(module(depends="", alias="tcp-ulp-tls"))
    return modules.closure(tmp_path / "modules", ["virtio_net", "tls"])


def made(look: rootfs.Look, root: Path, closure: modules.Closure) -> dict[str, newc.Entry]:
    archive = rootfs.assemble(look, system(), root, "none", closure, "6.1.0", b"CONFIG_BPF=y\n")
    assert archive.pack() == archive.pack()
    return newc.read(archive.pack())


def test_a_small_linux(root: Path, closure: modules.Closure) -> None:
    found = made(rootfs.Look(), root, closure)
    assert found["init"].mode == 0o100755
    assert found["bin/sh"].data == b"busybox"
    assert found["bin/busybox"].data.startswith(b"\x7fELF")
    assert found["sbin"].data == b"bin"
    assert found["root"].mode == 0o40700
    assert found["ssh/dropbear"].mode == found["ssh/loader"].mode == 0o100755
    assert "ssh/lib/libc.so.6" in found
    assert found["."].mode == 0o40755
    assert found["lib/modules/6.1.0/modules.dep"].data == (
        b"kernel/failover.ko:\nkernel/tls.ko.gz:\nkernel/virtio_net.ko: kernel/failover.ko\n"
    )
    assert found["lib/modules/6.1.0/modules.alias"].data == (
        b"alias tcp-ulp-tls tls\nalias virtio:1 virtio_net\n"
    )
    assert found["etc/modules.load"].data == (
        b"/lib/modules/6.1.0/kernel/failover.ko\n/lib/modules/6.1.0/kernel/virtio_net.ko\n"
    )
    config = found["lib/modules/6.1.0/config.gz"].data
    assert gzip.decompress(config) == b"CONFIG_BPF=y\n"
    assert not [name for name in found if name.startswith(("usr", "adb", "system"))]


def test_nothing_is_where_programs_look_for_libraries(
    root: Path, closure: modules.Closure
) -> None:
    for look in (rootfs.Look(), rootfs.Look(adb=True), rootfs.Look(android=True)):
        found = made(look, root, closure)
        libraries = [name for name in found if ".so" in name]
        assert libraries
        assert all(name.startswith(("ssh/lib/", "adb/lib/")) for name in libraries)


def test_the_look_of_android(root: Path, closure: modules.Closure) -> None:
    found = made(rootfs.Look(android=True), root, closure)
    folders = {name.partition("/")[0] for name in found}
    assert not folders & {"tmp", "usr", "root", "run", "sbin", "var"}
    assert found["bin"].data == b"/system/bin"
    assert found["etc"].data == b"/system/etc"
    assert found["system/bin/ls"].data == b"busybox"
    assert found["system/bin/sh"].data.startswith(b"\x7fELF")
    assert b"/system/bin/sh\n" in found["system/etc/passwd"].data
    assert "system/etc/modules.load" in found
    assert "system/lib/modules/6.1.0/kernel/virtio_net.ko" in found
    assert "adb/adbd" in found
    assert "adb/adbd" in made(rootfs.Look(adb=True), root, closure)


def board_file(look: rootfs.Look, **settings: str) -> str:
    packed = rootfs.overlay(look, KEYS, **{"name": "b", "address": "10.9.0.2/24"} | settings)
    prefix = "system/" if look.android else ""
    return newc.read(packed)[f"{prefix}etc/board"].data.decode()


def test_what_belongs_to_one_board() -> None:
    found = newc.read(rootfs.overlay(rootfs.Look(), KEYS, name="b", address="10.9.0.2/24"))
    assert found["ssh/keys/authorized_keys"] == newc.Entry(
        0o100600, KEYS.authorized.encode(), 8
    )
    assert found["ssh/keys"].mode == 0o40700
    assert found["ssh/host_ed25519"].data == b"\0host"
    assert found["etc/shadow"].mode == 0o100600
    assert found["etc/shadow"].data.startswith(b"root:*:")
    assert board_file(rootfs.Look()) == (
        "export PATH=/bin:/sbin HOME=/root\n"
        "BOARD='b'\nETH1='10.9.0.2/24'\nREAD_ONLY=''\nDROPBEAR='-s'\nMODPROBE='/sbin/modprobe'\n"
    )
    android = board_file(rootfs.Look(android=True))
    assert "TMPDIR=/data/local/tmp" in android
    assert "READ_ONLY='yes'" in android


def test_a_password_opens_the_board() -> None:
    packed = rootfs.overlay(
        rootfs.Look(), KEYS, name="b", address="10.9.0.2/24", password="let me in"
    )
    found = newc.read(packed)
    secret = found["etc/shadow"].data.split(b":")[1]
    assert bcrypt.checkpw(b"let me in", secret)
    assert b"DROPBEAR=''" in found["etc/board"].data


def test_the_first_process_is_a_script() -> None:
    script = Path(rootfs.__file__).with_name("init.sh")
    done = subprocess.run(["sh", "-n", script], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
