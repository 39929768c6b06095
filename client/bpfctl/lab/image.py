# SPDX-License-Identifier: Apache-2.0
"""What a board boots: a kernel of Debian and a first file system, cached by what is in them.

The file system is the same for everybody; what belongs to one board (its name, addresses and
keys) is a second small archive behind it, see `overlay`.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from bpfctl.config import cache_dir
from bpfctl.debian import Archive, Package
from bpfctl.debian.libraries import closure as library_closure
from bpfctl.debian.libraries import needs
from bpfctl.progress import Progress, silent

from . import modules
from .cpio import Cpio
from .errors import LabError
from .keys import Keys
from .recipe import Recipe, System, system

_KERNEL = re.compile(r"linux-(image|binary|modules|base)-\d")
"""Packages that make up a kernel; newer suites have it in several
(https://packages.debian.org/sid/linux-binary)."""

_KEPT = 4
"""Images of one recipe that are kept: of its looks, and the one before a refresh."""

_FORMAT = 1
"""Goes up when the same inputs shall give another image."""


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


@dataclass(frozen=True)
class Image:
    """Files that QEMU boots, in the user's cache."""

    folder: Path
    release: str
    """The kernel's own, as `uname -r` says."""

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"


def build(
    recipe: Recipe, look: Look, *, refresh: bool = False, progress: Progress = silent
) -> Image:
    """The image of a recipe; from the cache unless its inputs changed.

    `refresh` also asks the archive whether it has a newer kernel. Raises LabError and
    ArchiveError.
    """
    images = cache_dir() / "lab" / "images"
    images.mkdir(parents=True, exist_ok=True)
    known = images / f"{recipe.name}-{_recipe_key(recipe, look)}.json"
    with open(images / f"{recipe.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not refresh:
            found = _known(known)
            if found is not None:
                return found
        image = _build(images, recipe, look, refresh, progress)
        _write(known, json.dumps({"image": image.folder.name}).encode())
        _prune(images, recipe.name)
    return image


def known_release(recipe: Recipe) -> str:
    """The kernel's release of the image that was built last; empty: none was."""
    path = cache_dir() / "lab" / "images" / f"{recipe.name}-{_recipe_key(recipe, Look())}.json"
    found = _known(path)
    return found.release if found else ""


def _prune(images: Path, name: str) -> None:
    """Remove the oldest images of a recipe; boards that run need them no more."""
    own = re.compile(re.escape(name) + r"-[0-9a-f]{32}")
    found = [path for path in images.iterdir() if own.fullmatch(path.name)]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
    for path in images.glob(f"{name}-*.json"):
        if own.fullmatch(path.stem) and _known(path) is None:
            path.unlink(missing_ok=True)


def _known(path: Path) -> Image | None:
    """The image that was built last for a recipe."""
    try:
        folder = path.parent / json.loads(path.read_text())["image"]
        return Image(folder, (folder / "release").read_text().strip())
    except (OSError, ValueError, KeyError):
        return None


def _build(
    images: Path, recipe: Recipe, look: Look, refresh: bool, progress: Progress
) -> Image:
    about = system()
    kernels = Archive(recipe.suite, recipe.arch)
    userland = Archive(about.suite, recipe.arch)
    if refresh:
        kernels.refresh()
        if userland.suite != kernels.suite:
            userland.refresh()
    kernel = kernel_packages(kernels.closure(recipe.kernel), recipe.kernel)
    programs = userland.closure(*_packages(about, look))
    key = _key(_recipe_key(recipe, look), *(each.sha256 for each in (*kernel, *programs)))
    place = images / f"{recipe.name}-{key}"
    release_file = place / "release"
    if release_file.is_file():
        return Image(place, release_file.read_text().strip())
    tree = kernels.unpacked(kernel, progress)
    kernels.forget(kernel)
    root = userland.unpacked(programs, progress)
    progress("board image", 0, 0)
    release, vmlinuz, config = kernel_files(tree)
    archive = assemble(
        look,
        about,
        root,
        userland.triplet,
        modules.closure(
            tree / "usr" / "lib" / "modules" / release,
            [*about.load, *about.offer, *recipe.modules],
        ),
        release,
        config.read_bytes(),
    )
    fresh = Path(tempfile.mkdtemp(prefix=".image-", dir=images))
    try:
        shutil.copy(vmlinuz, fresh / "vmlinuz")
        (fresh / "initrd").write_bytes(archive.pack())
        (fresh / "release").write_text(release)
        fresh.chmod(0o755)
        # What is there is the remains of a broken disk: it has no release.
        shutil.rmtree(place, ignore_errors=True)
        os.rename(fresh, place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Image(place, release)


def _packages(about: System, look: Look) -> list[str]:
    return [
        *about.packages,
        *(about.adb_packages if look.has_adb else ()),
        *(about.android_packages if look.android else ()),
    ]


def kernel_packages(closure: list[Package], name: str) -> list[Package]:
    """Of what a kernel's metapackage depends on, the kernel itself."""
    found = [each for each in closure if _KERNEL.match(each.name)]
    if not found:
        raise LabError(f"{name} depends on no kernel that is known here")
    return found


def kernel_files(tree: Path) -> tuple[str, Path, Path]:
    """Release, image and configuration of the kernel in a tree.

    Up to Debian 13 they are in /boot, later with the modules.
    """
    for folder in sorted((tree / "usr" / "lib" / "modules").glob("*")):
        release = folder.name
        for prefix in (tree / "boot", folder):
            names = ("vmlinuz", "vmlinux")
            tail = f"-{release}" if prefix != folder else ""
            for path in (prefix / f"{name}{tail}" for name in names):
                if path.is_file():
                    return release, path, prefix / f"config{tail}"
    raise LabError(f"there is no kernel in {tree}")


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


@cache
def _code_key() -> str:
    """Of the code that makes images, so that a new version makes new ones."""
    here = Path(__file__).parent
    names = ("cpio.py", "image.py", "init.sh", "modules.py")
    return _key(str(_FORMAT), *((here / name).read_text() for name in names))


def _recipe_key(recipe: Recipe, look: Look) -> str:
    """Of all inputs that are known without asking the archive."""
    plain = replace(recipe, where=Path(), summary="", quirks=(), memory=0, cpus=0, cmdline="")
    described = [asdict(plain), asdict(system()), asdict(look)]
    return _key(_code_key(), json.dumps(described, default=str))


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _write(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    os.replace(file.name, path)
