# SPDX-License-Identifier: Apache-2.0
"""What ~/.ssh/config and /etc/ssh/ssh_config say about a host.

`ssh -G` says it where there is an ssh: with Include, Match and tokens just as ssh has them.
Elsewhere paramiko reads ~/.ssh/config, without Include.
"""

from __future__ import annotations

import getpass
import os
import pwd
import re
import shlex
import shutil
import socket
import subprocess
from dataclasses import dataclass, field

from bpfctl.config import SshTarget
from bpfctl.errors import TargetUnreachable

_SECONDS = 30.0
"""Bound of `ssh -G`: commands of `Match exec` run in it."""

_DEFAULT_KEYS = tuple(f"~/.ssh/id_{kind}" for kind in ("rsa", "ecdsa", "ed25519"))


@dataclass(frozen=True)
class Settings:
    """How to connect and log in; files are absolute paths."""

    name: str
    """The host as it was given."""
    host: str
    port: int
    user: str
    key_name: str
    """Under which its key stands in known_hosts, without the port."""
    identities: tuple[str, ...] = ()
    """Files of private keys; those that are not there are left out."""
    chosen: bool = False
    """Whether the first of them was asked for on purpose: it goes before the agent's."""
    certificates: tuple[str, ...] = ()
    only_identities: bool = False
    agent: str = ""
    """Socket of the agent; empty: none."""
    known_hosts: tuple[str, ...] = ()
    """Files of host keys; new ones go to the first."""
    system_known_hosts: tuple[str, ...] = ()
    strict: str = "ask"
    """StrictHostKeyChecking: "yes", "ask", "accept-new" or "no"."""
    hash_names: bool = False
    proxy_command: str = ""
    jumps: tuple[str, ...] = ()
    batch: bool = False
    """Nothing is asked for."""
    methods: tuple[str, ...] = ("publickey", "keyboard-interactive", "password")
    """Ways of logging in, in their order."""
    attempts: int = 3
    """How often a password is asked for."""
    alive_seconds: int = 0
    """ServerAliveInterval; 0: not said."""
    connect_seconds: float = 0.0
    """ConnectTimeout; 0: not said."""
    family: socket.AddressFamily = socket.AF_UNSPEC
    compression: bool = False

    @property
    def where(self) -> str:
        """The address for texts."""
        return f"{self.host}:{self.port}" if self.port != 22 else self.host

    @property
    def key_place(self) -> str:
        """The name of the host in known_hosts."""
        return self.key_name if self.port == 22 else f"[{self.key_name}]:{self.port}"


def read(target: str, config: SshTarget) -> Settings:
    """The settings for a target; what it says itself goes before what files say."""
    found = _Found(_from_ssh(target, config) or _from_paramiko(target, config))
    port = config.port or int(found.one("port", "22"))
    user = config.user or found.one("user") or getpass.getuser()
    host = found.one("hostname", config.host)
    tokens = {"h": host, "p": str(port), "r": user, "n": config.host, "u": getpass.getuser()}
    tokens |= {"d": os.path.expanduser("~"), "l": socket.gethostname(), "%": "%"}
    tokens |= {"k": found.one("hostkeyalias", config.host), "j": found.one("proxyjump")}
    tokens |= {"i": str(os.getuid()), "L": socket.gethostname().partition(".")[0]}
    identities = found.files("identityfile", tokens) or _paths(_DEFAULT_KEYS, tokens)
    if config.identity:
        identities = (os.path.expanduser(config.identity), *identities)
    known = found.files("userknownhostsfile", tokens) or _paths(
        ("~/.ssh/known_hosts", "~/.ssh/known_hosts2"), tokens
    )
    jump = found.one("proxyjump", "none")
    command = found.one("proxycommand", "none")
    return Settings(
        name=config.host,
        host=host,
        port=port,
        user=user,
        key_name=found.one("hostkeyalias", host),
        identities=tuple(path for path in identities if os.path.exists(path)),
        chosen=bool(config.identity),
        certificates=found.files("certificatefile", tokens),
        only_identities=found.yes("identitiesonly"),
        agent=_agent(found, tokens),
        known_hosts=(os.path.expanduser(config.known_hosts),) if config.known_hosts else known,
        system_known_hosts=()
        if config.known_hosts
        else found.files("globalknownhostsfile", tokens) or ("/etc/ssh/ssh_known_hosts",),
        strict=_strict(found.one("stricthostkeychecking", "ask")),
        hash_names=found.yes("hashknownhosts"),
        proxy_command="" if command.lower() == "none" else _expanded(command, tokens),
        jumps=()
        if jump.lower() == "none"
        else tuple(hop.strip() for hop in _expanded(jump, tokens).split(",")),
        batch=found.yes("batchmode"),
        methods=_methods(found),
        attempts=int(found.one("numberofpasswordprompts", "3")),
        alive_seconds=int(found.one("serveraliveinterval", "0")),
        connect_seconds=_seconds(found.one("connecttimeout", "none")),
        family={"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(
            found.one("addressfamily", "any"), socket.AF_UNSPEC
        ),
        compression=found.yes("compression"),
    )


@dataclass
class _Found:
    """Settings by their names in lower case, each with all of its values."""

    values: dict[str, list[str]] = field(default_factory=dict)

    def one(self, name: str, usual: str = "") -> str:
        return self.values.get(name, [usual])[0]

    def yes(self, name: str) -> bool:
        return self.one(name) in ("yes", "true")

    def files(self, name: str, tokens: dict[str, str]) -> tuple[str, ...]:
        """Paths; known_hosts files stand several in one value."""
        found = [
            word
            for value in self.values.get(name, [])
            for word in (shlex.split(value) if "knownhosts" in name else [value])
        ]
        return _paths(found, tokens)


def _from_ssh(target: str, config: SshTarget) -> dict[str, list[str]] | None:
    """What `ssh -G` says; None: there is no ssh."""
    ssh = shutil.which("ssh")
    if ssh is None:
        return None
    command = [ssh, "-G"]
    home, own = os.path.expanduser("~"), pwd.getpwuid(os.getuid()).pw_dir
    if home != own:
        # ssh looks into the home folder of the user's account, whatever HOME is.
        file = os.path.join(home, ".ssh", "config")
        command += ["-F", file if os.path.exists(file) else "none"]
    command += ["-p", str(config.port)] if config.port else []
    command += ["-l", config.user] if config.user else []
    try:
        done = subprocess.run(
            [*command, "--", config.host],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TargetUnreachable(target, f"`ssh -G {config.host}`: {error}") from None
    if done.returncode != 0:
        words = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise TargetUnreachable(target, f"the SSH configuration: {words}")
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        if name in ("userknownhostsfile", "identityagent"):
            # Here it writes ~ out.
            value = value.replace(f"{own}/", f"{home}/")
        found.setdefault(name, []).append(value)
    return found


def _from_paramiko(target: str, config: SshTarget) -> dict[str, list[str]]:
    import paramiko

    path = os.path.expanduser("~/.ssh/config")
    try:
        entries = dict(paramiko.SSHConfig.from_path(path).lookup(config.host))
    except FileNotFoundError:
        return {}
    except (paramiko.SSHException, OSError) as error:
        raise TargetUnreachable(target, f"{path}: {error}") from None
    return {
        name: list(value) if isinstance(value, list) else [str(value)]
        for name, value in entries.items()
    }


def _paths(paths: tuple[str, ...] | list[str], tokens: dict[str, str]) -> tuple[str, ...]:
    return tuple(
        os.path.expanduser(_expanded(path, tokens)) for path in paths if path.lower() != "none"
    )


def _expanded(text: str, tokens: dict[str, str]) -> str:
    """%h and the like (TOKENS of ssh_config(5)); those that are not known stay."""
    return re.sub(r"%(.)", lambda found: tokens.get(found[1], found[0]), text)


def _agent(found: _Found, tokens: dict[str, str]) -> str:
    usual = os.environ.get("SSH_AUTH_SOCK", "")
    said = found.one("identityagent", "SSH_AUTH_SOCK")
    if said.lower() == "none":
        return ""
    if said == "SSH_AUTH_SOCK":
        return usual
    if said.startswith("$"):
        return os.environ.get(said.strip("${}"), "")
    return os.path.expanduser(_expanded(said, tokens))


def _strict(said: str) -> str:
    return {"true": "yes", "false": "no", "off": "no"}.get(said.lower(), said.lower())


def _methods(found: _Found) -> tuple[str, ...]:
    usual = "publickey,keyboard-interactive,password"
    wanted = found.one("preferredauthentications", usual).split(",")
    allowed = {
        "publickey": found.one("pubkeyauthentication", "yes") not in ("no", "false"),
        "keyboard-interactive": found.one("kbdinteractiveauthentication", "yes") != "no",
        "password": found.one("passwordauthentication", "yes") != "no",
    }
    return tuple(method for method in wanted if allowed.get(method))


def _seconds(said: str) -> float:
    return float(said) if said.isdigit() else 0.0
