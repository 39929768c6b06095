# SPDX-License-Identifier: Apache-2.0
"""A daemon behind SSH: `bpfd dial-stdio` runs on the far side, no port is opened there.

Follows the user's SSH configuration (HostName, User, Port, IdentityFile, IdentitiesOnly,
HostKeyAlias, UserKnownHostsFile, ProxyCommand, ProxyJump), the agent and known_hosts. An
unknown or changed host key is refused.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import socket
from typing import TYPE_CHECKING, Any

from bpfctl.config import SshTarget, parse_ssh
from bpfctl.errors import TargetUnreachable
from bpfctl.transport import KEEPALIVE_SECONDS, channel_options
from bpfctl.transport.bridge import Bridge

if TYPE_CHECKING:
    import paramiko

_COMMAND_NOT_FOUND = 127
_NOT_EXECUTABLE = 126


class SshConnection:
    """One SSH connection; each connection of the channel is one command on it."""

    def __init__(self, name: str, config: SshTarget, timeout: float) -> None:
        import grpc

        # Without a handler Python would print paramiko's own reports of what is raised here.
        logging.getLogger("paramiko").addHandler(logging.NullHandler())
        self._name = name
        self._config = config
        self._closing = contextlib.ExitStack()
        try:
            client = _connect(name, config, timeout, self._closing, jumps=4)
            transport = client.get_transport()
            assert transport is not None
            self._transport = transport
            transport.set_keepalive(KEEPALIVE_SECONDS)
            self._bridge = Bridge(self._start)
            self._closing.callback(self._bridge.close)
            self.channel = grpc.insecure_channel(
                f"unix:{self._bridge.path}", options=channel_options(keepalive=True)
            )
            self._closing.callback(self.channel.close)
        except BaseException:
            self._closing.close()
            raise

    def _start(self) -> paramiko.Channel:
        channel = self._transport.open_session(window_size=8 * 1024 * 1024, timeout=30)
        channel.exec_command(self._config.command)
        return channel

    def explain(self, details: str) -> TargetUnreachable:
        bridge = self._bridge
        if not self._transport.is_active():
            return TargetUnreachable(self._name, "the SSH connection broke")
        # gRPC may see the closed socket before the command's last words are here.
        bridge.ended.wait(2)
        command = self._config.command.split()[0]
        if bridge.exit_status == _COMMAND_NOT_FOUND:
            return TargetUnreachable(
                self._name,
                f"{self._config.host} has no command {command!r} ({bridge.words})",
                "install bpfd there, or say where it is: "
                "`bpfctl target add NAME --ssh HOST --command '/opt/bpfd/bin/bpfd dial-stdio'`",
            )
        if bridge.exit_status == _NOT_EXECUTABLE:
            return TargetUnreachable(
                self._name, f"{command} cannot be run on {self._config.host} ({bridge.words})"
            )
        if bridge.words or bridge.exit_status:
            words = bridge.words or f"exit status {bridge.exit_status}"
            return TargetUnreachable(
                self._name, f"`{self._config.command}` on {self._config.host}: {words}"
            )
        return TargetUnreachable(self._name, f"the connection broke: {details}")

    def close(self) -> None:
        self._closing.close()


def _connect(
    name: str,
    config: SshTarget,
    timeout: float,
    closing: contextlib.ExitStack,
    jumps: int,
    via: tuple[str, ...] = (),
) -> paramiko.SSHClient:
    """A client that is connected and authenticated; `closing` gets what ends it.

    `via` are hosts to go through, in place of those of the SSH configuration; `jumps` bounds
    how many follow each other.
    """
    import paramiko

    settings = _settings(name, config.host)
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
        )
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise _refused(name, user, where, config, error) from None
    return client


def _settings(name: str, host: str) -> dict[str, Any]:
    import paramiko

    path = os.path.expanduser("~/.ssh/config")
    try:
        return dict(paramiko.SSHConfig.from_path(path).lookup(host))
    except FileNotFoundError:
        return {}
    except (paramiko.SSHException, OSError) as error:
        raise TargetUnreachable(name, f"{path}: {error}") from None


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
    import paramiko

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
    before = _connect(name, hop, timeout, closing, jumps - 1, via[:-1])
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
    import paramiko

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
