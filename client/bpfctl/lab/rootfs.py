# SPDX-License-Identifier: Apache-2.0
"""The first file system of a board, which is all that it has.

`assemble` makes what is the same for everybody, `overlay` what belongs to one board.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

from bpfctl.debian.libraries import closure as library_closure
from bpfctl.debian.libraries import needs

from . import modules
from .cpio import Cpio
from .errors import LabError
from .keys import Keys
from .recipe import System


@dataclass(frozen=True)
class Look:
    """What kind of system a board plays."""

    adb: bool = False
    """With adbd."""
    android: bool = False
    """No /tmp, no /usr, a root that cannot be written to, the commands of toybox."""

    @property
    def has_adb(self) -> bool:
        return self.adb or self.android


def assemble(
    look: Look,
    about: System,
    root: Path,
    triplet: str,
    closure: modules.Closure,
    release: str,
    config: bytes,
) -> Cpio:
    """The first file system; `root` has busybox, dropbear and, where it is asked for, adbd."""
    archive = Cpio()
    # dropbear wants it so above the keys.
    archive.folder("/", 0o755)
    for name in ("proc", "sys", "dev", "data", "ssh/keys"):
        archive.folder(f"/{name}")
    archive.folder("/ssh/keys", 0o700)
    prefix = _android(archive, about) if look.android else _plain(archive, about)
    archive.file(f"{prefix}/bin/busybox", (root / "usr/bin/busybox").read_bytes(), 0o755)
    if look.android:
        # busybox's own shell would run commands that have no name here.
        archive.file(f"{prefix}/bin/sh", (root / "usr/bin/mksh-static").read_bytes(), 0o755)
    _private(archive, "/ssh", root / "usr/sbin/dropbear", root, triplet)
    if look.has_adb:
        _private(archive, "/adb", root / "usr/sbin/adbd", root, triplet)
    folder = f"/lib/modules/{release}"
    load = closure.load_order(about.load)
    closure.compress(set(closure.modules) - {module.name for module in load})
    _modules(archive, closure, prefix, folder)
    order = [f"{folder}/{module.path}\n" for module in load]
    archive.file(f"{prefix}/etc/modules.load", "".join(order).encode())
    # Debian's kernels do not tell their configuration in /proc/config.gz.
    packed = gzip.compress(config, 9, mtime=0)
    archive.file(f"{prefix}{folder}/config.gz", packed)
    archive.file("/init", (Path(__file__).parent / "init.sh").read_bytes(), 0o755)
    return archive


def _plain(archive: Cpio, about: System) -> str:
    """Folders and accounts of a small embedded Linux; gives what stands before /bin."""
    for name in ("bin", "run", "tmp", "var", "mnt"):
        archive.folder(f"/{name}")
    archive.folder("/root", 0o700)
    archive.link("/sbin", "bin")
    for name in about.applets:
        archive.link(f"/bin/{name}", "busybox")
    _accounts(archive, "/root", "/bin/sh")
    return ""


def _android(archive: Cpio, about: System) -> str:
    """Folders and accounts as Android has them; gives what stands before /bin."""
    for name in ("mnt", "apex", "vendor", "product", "cache"):
        archive.folder(f"/{name}")
    archive.link("/bin", "/system/bin")
    archive.link("/etc", "/system/etc")
    archive.link("/lib", "/system/lib")
    for name in about.android_applets:
        archive.link(f"/system/bin/{name}", "busybox")
    _accounts(archive, "/", "/system/bin/sh", "/system")
    return "/system"


def _accounts(archive: Cpio, home: str, shell: str, prefix: str = "") -> None:
    archive.file(
        f"{prefix}/etc/passwd",
        f"root:x:0:0:root:{home}:{shell}\nshell:x:2000:2000:shell:/data/local/tmp:{shell}\n"
        "nobody:x:65534:65534:nobody:/:/bin/false\n".encode(),
    )
    archive.file(f"{prefix}/etc/group", b"root:x:0:\nshell:x:2000:\nnogroup:x:65534:\n")
    archive.file(f"{prefix}/etc/shells", f"{shell}\n".encode())


def _private(archive: Cpio, folder: str, program: Path, root: Path, triplet: str) -> None:
    """A program with a loader and libraries of its own."""
    asked = needs(program)
    if asked is None or not asked.interpreter:
        raise LabError(f"{program.name} is not linked with shared libraries")
    further = [root / "usr" / "lib" / triplet / "android"]
    found = library_closure([program], root, triplet, further)
    archive.file(f"{folder}/{program.name}", program.read_bytes(), 0o755)
    loader = found.pop(Path(asked.interpreter).name)
    archive.file(f"{folder}/loader", loader.read_bytes(), 0o755)
    for soname, path in found.items():
        archive.file(f"{folder}/lib/{soname}", path.read_bytes())


def _modules(archive: Cpio, closure: modules.Closure, prefix: str, folder: str) -> None:
    for module in closure.modules.values():
        archive.file(f"{prefix}{folder}/{module.path}", module.data)
    archive.file(f"{prefix}{folder}/modules.dep", closure.dep_table())
    archive.file(f"{prefix}{folder}/modules.alias", closure.alias_table())


def overlay(look: Look, keys: Keys, *, name: str, address: str, password: str = "") -> bytes:
    """What belongs to one board: to be put behind the image's file system.

    `address` is that of eth1, with the length of the prefix. `password`: of root over SSH;
    empty: keys alone are taken.
    """
    etc = "/system/etc" if look.android else "/etc"
    settings = {
        "BOARD": name,
        "ETH1": address,
        "READ_ONLY": "yes" if look.android else "",
        "DROPBEAR": "" if password else "-s",
        "MODPROBE": "/system/bin/modprobe" if look.android else "/sbin/modprobe",
    }
    if look.android:
        exported = "PATH=/system/bin TMPDIR=/data/local/tmp HOME=/"
    else:
        exported = "PATH=/bin:/sbin HOME=/root"
    archive = Cpio()
    lines = [f"export {exported}", *(f"{key}='{value}'" for key, value in settings.items())]
    archive.file(f"{etc}/board", "".join(f"{line}\n" for line in lines).encode())
    archive.file(f"{etc}/shadow", _shadow(password).encode(), 0o600)
    archive.file(f"{etc}/hostname", f"{name}\n".encode())
    archive.folder("/ssh")
    archive.folder("/ssh/keys", 0o700)
    archive.file("/ssh/keys/authorized_keys", keys.authorized.encode(), 0o600)
    archive.file("/ssh/host_ed25519", keys.host_private, 0o600)
    return archive.pack()


def _shadow(password: str) -> str:
    secret = "*"
    if password:
        import bcrypt

        # As few rounds as there are: the board's CPU is played by software.
        secret = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    return f"root:{secret}:19000:0:99999:7:::\nshell:*:19000:0:99999:7:::\n"
