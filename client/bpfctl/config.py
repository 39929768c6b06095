# SPDX-License-Identifier: Apache-2.0
"""Named targets and the user's folders.

Targets stand in `targets.toml` of the config folder (`BPFCTL_CONFIG_DIR`, else the user's
own), groups of them as well (`bpfctl.groups`). `local` needs no entry: it is the daemon of
this machine, at `BPFCTL_SOCKET` or /run/bpfd/bpfd.sock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from bpfctl.errors import InvalidArgument, NotFound

DEFAULT_TARGET = "local"
DEFAULT_SOCKET = "/run/bpfd/bpfd.sock"
DEFAULT_DIAL = "bpfd dial-stdio"
DEFAULT_TCP_PORT = 9843
GROUP = "group:"
"""Before the name of a group, where targets are named."""


@dataclass(frozen=True)
class LocalTarget:
    """A daemon of this machine, by its unix socket."""

    transport: ClassVar[str] = "local"
    socket: str = DEFAULT_SOCKET

    @property
    def address(self) -> str:
        return self.socket


@dataclass(frozen=True)
class SshTarget:
    """A daemon that `command` on the far side of an SSH connection speaks to by stdio."""

    transport: ClassVar[str] = "ssh"
    host: str
    user: str = ""
    """Empty: as the SSH configuration or this user's name says."""
    port: int = 0
    """0: as the SSH configuration says, else 22."""
    command: str = DEFAULT_DIAL
    """What connects to an installed daemon by its stdio; only used while `home` is empty."""
    identity: str = ""
    """File of a private key; empty: as the SSH configuration says."""
    known_hosts: str = ""
    """File of host keys; empty: as the SSH configuration says."""
    home: str = ""
    """Folder there of the daemon that `target up` put there; empty: none."""
    become: str = ""
    """Command that runs others with root's rights there ("sudo -n"); empty: none is needed."""

    @property
    def address(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{user}{host}" + (f":{self.port}" if self.port else "")


@dataclass(frozen=True)
class AdbTarget:
    """A device of the Android debug bridge, with a daemon that `target up` put there."""

    transport: ClassVar[str] = "adb"
    serial: str = ""
    """Empty: `ANDROID_SERIAL`, else the only device there is."""
    home: str = ""
    """Folder there of the daemon that `target up` put there; empty: none yet."""

    @property
    def address(self) -> str:
        return self.serial or os.environ.get("ANDROID_SERIAL") or "(the only device)"


@dataclass(frozen=True)
class TcpTarget:
    """A daemon that listens on TCP; both sides show certificates."""

    transport: ClassVar[str] = "tcp"
    host: str
    port: int
    ca: str
    cert: str
    key: str

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


TargetConfig = LocalTarget | SshTarget | AdbTarget | TcpTarget

_KINDS: dict[str, type[TargetConfig]] = {
    "local": LocalTarget,
    "ssh": SshTarget,
    "adb": AdbTarget,
    "tcp": TcpTarget,
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def config_dir() -> Path:
    """Folder of `targets.toml`; it need not exist."""
    override = os.environ.get("BPFCTL_CONFIG_DIR")
    if override:
        return Path(override)
    import platformdirs

    return platformdirs.user_config_path("bpfctl", appauthor=False)


def cache_dir() -> Path:
    """Folder of what can be fetched or compiled again; it need not exist."""
    override = os.environ.get("BPFCTL_CACHE_DIR")
    if override:
        return Path(override)
    import platformdirs

    return platformdirs.user_cache_path("bpfctl", appauthor=False)


def data_dir() -> Path:
    """Folder of what cannot be had again for nothing; it need not exist."""
    override = os.environ.get("BPFCTL_DATA_DIR")
    if override:
        return Path(override)
    import platformdirs

    return platformdirs.user_data_path("bpfctl", appauthor=False)


def default_socket() -> str:
    """Socket of this machine's daemon."""
    return os.environ.get("BPFCTL_SOCKET") or DEFAULT_SOCKET


def parse_host(text: str, default_port: int = 0) -> tuple[str, int]:
    """Host and port of "host", "host:port", "[v6]" or "[v6]:port".

    Raises InvalidArgument for anything else.
    """
    found = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::(\d{1,5}))?", text)
    if found is None:
        if not _is_ipv6(text):
            raise InvalidArgument("address", f"{text!r} is not HOST or HOST:PORT")
        return text, default_port
    host = found.group(1) or found.group(2)
    port = int(found.group(3)) if found.group(3) else default_port
    if port > 65535:
        raise InvalidArgument("address", f"there is no port {port}")
    return host, port


def _is_ipv6(text: str) -> bool:
    try:
        return bool(socket.inet_pton(socket.AF_INET6, text.partition("%")[0]))
    except OSError:
        return False


def parse_ssh(text: str, command: str = DEFAULT_DIAL) -> SshTarget:
    """The SSH target of "[user@]host[:port]"."""
    user, _, rest = text.rpartition("@")
    host, port = parse_host(rest)
    return SshTarget(host, user, port, command)


def load_targets() -> dict[str, TargetConfig]:
    """Named targets in the order of the file; raises InvalidArgument when it is damaged."""
    return {
        name: _from_entry(name, entry, targets_file())
        for name, entry in load_table("targets").items()
    }


def targets_file() -> Path:
    """Path of `targets.toml`; it need not exist."""
    return config_dir() / "targets.toml"


def load_table(name: str) -> dict[str, Any]:
    """A table of `targets.toml` as it stands there; raises InvalidArgument."""
    path = targets_file()
    table = _load(path).get(name, {})
    if not isinstance(table, dict):
        example = "[targets.NAME]" if name == "targets" else f"[{name}]"
        raise InvalidArgument(str(path), f"{name} is not a table: write {example}")
    return table


def _load(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidArgument(str(path), error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise InvalidArgument(str(path), "not valid TOML: not a text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(str(path), f"not valid TOML: {error}") from None


def _from_entry(name: str, entry: Any, path: Path) -> TargetConfig:
    where = f"{path}: target {name!r}"
    if not isinstance(entry, dict):
        raise InvalidArgument(where, "not a table")
    kind = _KINDS.get(str(entry.get("transport")))
    if kind is None:
        raise InvalidArgument(where, f"transport must be one of {', '.join(_KINDS)}")
    known = {item.name: item for item in fields(kind)}
    for key, value in entry.items():
        if key == "transport":
            continue
        if key not in known:
            raise InvalidArgument(where, f"no such setting: {key}")
        if type(value) is not (int if key == "port" else str):
            raise InvalidArgument(where, f"{key} has the wrong type")
    try:
        return kind(**{key: value for key, value in entry.items() if key != "transport"})
    except TypeError:
        needed = ", ".join(known)
        raise InvalidArgument(where, f"a {kind.transport} target needs {needed}") from None


@contextlib.contextmanager
def changing_targets() -> Iterator[dict[str, TargetConfig]]:
    """Named targets to be changed in place and saved; others who change them wait.

    Raises as `load_targets` and `save_targets`; nothing is saved when the block raises.
    """
    with changing_file():
        targets = load_targets()
        yield targets
        save_targets(targets)


@contextlib.contextmanager
def changing_file() -> Iterator[None]:
    """Others who change `targets.toml` wait until the block ends."""
    folder = config_dir()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _settings(config: TargetConfig) -> dict[str, Any]:
    """What stands in the file: all settings but those that have their usual value."""
    return {
        item.name: getattr(config, item.name)
        for item in fields(config)
        if getattr(config, item.name) != item.default
    }


def save_targets(targets: dict[str, TargetConfig]) -> Path:
    """Write all named targets; gives the path. What else stands in the file is kept."""
    tables = {
        name: {
            "transport": config.transport,
            **_settings(config),
        }
        for name, config in targets.items()
    }
    return save_table("targets", tables)


def save_table(name: str, table: dict[str, Any]) -> Path:
    """Put a table in place of that in `targets.toml`, at once and readable for this user
    alone; gives the path. Within `changing_file`."""
    import tempfile

    import tomli_w

    path = targets_file()
    document = {**_load(path), name: table}
    fresh = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            fresh = file.name
            file.write(tomli_w.dumps(document))
        os.replace(fresh, path)
    except OSError as error:
        if fresh:
            Path(fresh).unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
    return path


def check_name(name: str, what: str = "target name") -> str:
    """`name` itself; raises InvalidArgument where it cannot name a target or a group."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(what, f"{name!r}: letters, digits, '.', '_' and '-', at most 64")
    return name


def default_name() -> str:
    """The target, or targets, where none are named: `BPFCTL_TARGET`, else `local`."""
    return os.environ.get("BPFCTL_TARGET") or DEFAULT_TARGET


def resolve(name: str | None = None) -> tuple[str, TargetConfig]:
    """Name and settings of the target to speak to.

    `name` is a named target, `local`, or an address: "unix:PATH", "ssh://[user@]host[:port]",
    "adb:[SERIAL]".
    None: `BPFCTL_TARGET`, else `local`. Raises NotFound, and InvalidArgument for a name of
    several targets (`bpfctl.groups`).
    """
    name = name or default_name()
    if name.startswith("unix:"):
        return name, LocalTarget(name.removeprefix("unix:"))
    if name.startswith("ssh://"):
        return name, parse_ssh(name.removeprefix("ssh://").rstrip("/"))
    if name.startswith("adb:"):
        return name, AdbTarget(name.removeprefix("adb:"))
    if "," in name or name.startswith(GROUP):
        from bpfctl import groups

        name = groups.single(name)
    targets = load_targets()
    if name in targets:
        return name, targets[name]
    if name == DEFAULT_TARGET:
        return name, LocalTarget(default_socket())
    import difflib

    near = difflib.get_close_matches(name, [*targets, DEFAULT_TARGET], 3)
    raise NotFound(
        "target", name, near, "`bpfctl target list` shows all, `target add` adds one"
    )
