# SPDX-License-Identifier: Apache-2.0
"""What `scripts/probe.sh` finds out about a target, in one run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bpfctl.bootstrap import scripts
from bpfctl.bootstrap.errors import BootstrapFailed
from bpfctl.bootstrap.shell import Shell

_CAP_SYS_ADMIN, _CAP_BPF = 21, 39

# The last line of df(1) with -kP: device, blocks, used, available, percent, mount point.
_DF = re.compile(r".*\s\d+\s+-?\d+\s+(-?\d+)\s+\S+\s+(/.*)")

_IN_MEMORY = frozenset({"tmpfs", "ramfs", "rootfs", "devtmpfs"})


@dataclass
class Place:
    """A folder that could be a home."""

    path: str
    verdict: str = ""
    """"good", "read-only", "full", "noexec", "foreign" (another user's), "occupied" or
    "absent" (the folder that it would be in)."""
    free: int | None = None
    """Bytes; None: not known."""
    in_memory: bool = False
    """Whether it takes from the machine's memory."""

    @property
    def passing(self) -> bool:
        """Whether it is lost at a reboot; many systems empty /tmp then."""
        return self.in_memory or self.path.startswith("/tmp/")


@dataclass
class Home:
    """A folder with a daemon that was put there."""

    path: str
    bundles: list[str] = field(default_factory=list)
    """SHA-256 of each."""
    current: str = ""
    """SHA-256 of the bundle that is started; empty: none yet."""
    uploads: dict[str, int] = field(default_factory=dict)
    """File names and bytes of uploads that did not end."""
    pid: int = 0
    """The daemon's process; 0: it does not run."""
    boot: str = ""
    """Boot of the machine in which a daemon was last started."""


@dataclass
class Facts:
    """A target before anything is done there."""

    machine: str = ""
    boot: str = ""
    uid: int = -1
    capabilities: int = 0
    memory: int | None = None
    """Bytes that can be had (MemAvailable); None: not known."""
    cpu: frozenset[str] = frozenset()
    installed: str = ""
    """Path of a command `bpfd`; empty: none."""
    login: str = "/"
    sudo: bool = False
    """Whether this user may do anything as root, without a password."""
    places: list[Place] = field(default_factory=list)
    homes: list[Home] = field(default_factory=list)

    @property
    def privileged(self) -> bool:
        """Whether a daemon of this user may use BPF; before 5.8 CAP_SYS_ADMIN was for it."""
        return bool(
            self.capabilities >> _CAP_BPF & 1 or self.capabilities >> _CAP_SYS_ADMIN & 1
        )

    def home(self, path: str) -> Home | None:
        """The home of that path, if there is one."""
        return next((home for home in self.homes if home.path == path), None)


def learn(
    shell: Shell, home: str, candidates: tuple[str, ...], *, make_parents: bool = False
) -> Facts:
    """Looks at a target; `home`: where a daemon may be already. Leaves nothing there.

    `make_parents`: a candidate may also be in a folder that is not there.
    """
    above = "made" if make_parents else ""
    done = scripts.run(shell, "probe", home, above, *candidates)
    if done.status != 0:
        raise BootstrapFailed(shell.name, f"its shell does not work: {done.words}")
    return parse(done.text, candidates)


def parse(text: str, candidates: tuple[str, ...]) -> Facts:
    """Reads the output of the script."""
    facts = Facts()
    mounts: list[tuple[str, str]] = []
    spaces: dict[int, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "place":
            index, _, verdict = value.partition(" ")
            facts.places.append(Place(candidates[int(index)], verdict))
        elif key == "space":
            index, _, last = value.partition(" ")
            spaces[int(index)] = last
        elif key == "mount":
            kind, _, point = value.partition(" ")
            mounts.append((point, kind))
        elif not _note(facts, key, value) and facts.homes:
            _note_home(facts.homes[-1], key, value)
    for number, place in enumerate(facts.places):
        place.path = _expanded(place.path, facts.login)
        found = _DF.fullmatch(spaces.get(number, ""))
        if found:
            place.free = max(int(found.group(1)), 0) * 1024
        place.in_memory = _kind_of(place.path, mounts) in _IN_MEMORY
    return facts


def _note(facts: Facts, key: str, value: str) -> bool:
    match key:
        case "home":
            facts.homes.append(Home(value))
        case "machine" | "boot" | "installed" | "login":
            setattr(facts, key, value)
        case "sudo":
            facts.sudo = value == "yes"
        case "uid":
            facts.uid = int(value)
        case "capabilities":
            facts.capabilities = int(value, 16)
        case "memory":
            facts.memory = int(value) * 1024
        case "cpu":
            facts.cpu = frozenset(value.partition(":")[2].split())
        case _:
            return False
    return True


def _note_home(home: Home, key: str, value: str) -> None:
    match key:
        case "bundle":
            home.bundles.append(value)
        case "current":
            home.current = value
        case "part":
            name, _, size = value.rpartition(" ")
            home.uploads[name] = int(size)
        case "daemon":
            home.pid = int(value)
        case "started":
            home.boot = value


def _expanded(path: str, login: str) -> str:
    return login.rstrip("/") + path[1:] if path.startswith("~/") else path


def _kind_of(path: str, mounts: list[tuple[str, str]]) -> str:
    """Type of the file system that a path is on; the last mount on a point is the one seen."""
    best, kind = "", ""
    for point, each in mounts:
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, each
    return kind
