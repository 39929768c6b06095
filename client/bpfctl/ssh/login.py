# SPDX-License-Identifier: Apache-2.0
"""Connecting and logging in.

Follows the user's SSH configuration (HostName, User, Port, IdentityFile, IdentitiesOnly,
HostKeyAlias, UserKnownHostsFile, ProxyCommand, ProxyJump), the agent and known_hosts. An
unknown or changed host key is refused.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
from typing import Any

import paramiko

from bpfctl.config import SshTarget, parse_ssh
from bpfctl.errors import TargetUnreachable
from bpfctl.ssh.transport import Transport

MAX_JUMPS = 4


def connect(
    name: str,
    config: SshTarget,
    timeout: float,
    closing: contextlib.ExitStack,
    jumps: int = MAX_JUMPS,
    via: tuple[str, ...] = (),
) -> paramiko.SSHClient:
    """A client that is connected and authenticated; `closing` gets what ends it.

    `via` are hosts to go through, in place of those of the SSH configuration; `jumps` bounds
    how many follow each other.
    """
    settings = _settings(name, config)
    host = settings.get("hostname", config.host)
    port = config.port or int(settings.get("port", 22))
    user = config.user or settings.get("user") or getpass.getuser()
    client = paramiko.SSHClient()
    for path in _known_hosts(settings):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            client.load_system_host_keys(path)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    closing.callback(client.close)
    keys = [os.path.expanduser(path) for path in settings.get("identityfile", [])]
    where = f"{host}:{port}" if port != 22 else host
    try:
        client.connect(
            settings.get("hostkeyalias", host),
            port,
            user,
            sock=_socket(name, settings, host, port, timeout, closing, jumps, via),
            # A list is taken as well, only the types say otherwise.
            key_filename=keys,  # type: ignore[arg-type]
            allow_agent=settings.get("identitiesonly", "no") != "yes",
            look_for_keys=settings.get("identitiesonly", "no") != "yes",
            timeout=timeout,
            banner_timeout=timeout,
            auth_timeout=timeout,
            transport_factory=Transport,  # type: ignore[arg-type]
        )
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise _refused(name, user, where, config, error) from None
    return client


def _settings(name: str, config: SshTarget) -> dict[str, Any]:
    """The SSH configuration for a host; files that the target itself names go before it."""
    path = os.path.expanduser("~/.ssh/config")
    try:
        settings: dict[str, Any] = dict(paramiko.SSHConfig.from_path(path).lookup(config.host))
    except FileNotFoundError:
        settings = {}
    except (paramiko.SSHException, OSError) as error:
        raise TargetUnreachable(name, f"{path}: {error}") from None
    if config.identity:
        settings |= {"identityfile": [config.identity], "identitiesonly": "yes"}
    if config.known_hosts:
        settings["userknownhostsfile"] = config.known_hosts
    return settings


def _known_hosts(settings: dict[str, Any]) -> list[str]:
    own = settings.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
    system = settings.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts")
    return [os.path.expanduser(path) for path in f"{own} {system}".split()]


def _socket(
    name: str,
    settings: dict[str, Any],
    host: str,
    port: int,
    timeout: float,
    closing: contextlib.ExitStack,
    jumps: int,
    via: tuple[str, ...],
) -> Any:
    """What carries the SSH connection: a TCP socket, a command's pipes, or another host."""
    command = settings.get("proxycommand", "none")
    jump = settings.get("proxyjump", "none")
    if not via and jump.lower() != "none":
        via = tuple(hop.strip() for hop in jump.split(","))
    elif not via and command.lower() != "none":
        proxy = paramiko.ProxyCommand(command)
        proxy.settimeout(timeout)
        closing.callback(proxy.close)
        return proxy
    if not via:
        carrier = socket.create_connection((host, port), timeout=timeout)
        closing.callback(carrier.close)
        return carrier
    if jumps == 0:
        raise TargetUnreachable(name, "ProxyJump leads in a circle", "see ~/.ssh/config")
    hop = parse_ssh(via[-1].removeprefix("ssh://"))
    before = connect(name, hop, timeout, closing, jumps - 1, via[:-1])
    transport = before.get_transport()
    assert transport is not None
    channel = transport.open_channel(
        "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=timeout
    )
    closing.callback(channel.close)
    return channel


def _refused(
    name: str, user: str, where: str, config: SshTarget, error: Exception
) -> TargetUnreachable:
    login = (
        f"ssh {config.address}" if not config.port else f"ssh -p {config.port} {config.host}"
    )
    text = str(error)
    if isinstance(error, paramiko.BadHostKeyException):
        return TargetUnreachable(
            name,
            f"the host key of {where} is not the one in known_hosts",
            f"someone may be in between; if the host was set up anew: `ssh-keygen -R {where}`",
        )
    if "not found in known_hosts" in text:
        return TargetUnreachable(
            name,
            f"the host key of {where} is not known",
            f"look at it and accept it once: `{login}`",
        )
    if isinstance(error, paramiko.PasswordRequiredException):
        return TargetUnreachable(
            name, "the private key has a passphrase", "add it to the agent with `ssh-add`"
        )
    if isinstance(error, paramiko.AuthenticationException):
        return TargetUnreachable(
            name,
            f"{where} does not let {user} in by key",
            f"try `{login}`; passwords are not asked for here",
        )
    if isinstance(error, socket.gaierror):
        return TargetUnreachable(name, f"{where} has no address: {error.strerror}")
    if isinstance(error, TimeoutError):
        return TargetUnreachable(
            name, f"{where} does not answer", "is it up, is the port open?"
        )
    if isinstance(error, ConnectionRefusedError):
        return TargetUnreachable(name, f"no SSH server listens on {where}")
    return TargetUnreachable(name, f"{where}: {text or type(error).__name__}")
