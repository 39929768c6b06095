# SPDX-License-Identifier: Apache-2.0
"""Connecting: the carrier of the bytes, the handshake, the host key, the login."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from bpfctl.config import SshTarget, parse_ssh
from bpfctl.errors import InvalidArgument, TargetUnreachable
from bpfctl.ssh import hostkeys
from bpfctl.ssh.login import Login
from bpfctl.ssh.prompt import Prompt, Unanswered
from bpfctl.ssh.settings import Settings, read
from bpfctl.ssh.transport import Transport
from bpfctl.transport import KEEPALIVE_SECONDS

MAX_JUMPS = 8
"""Jump hosts that may follow each other."""

_LOGIN_SECONDS = 120.0
"""Time for what the user types; sshd's own LoginGraceTime is as long."""

_LOST_AFTER_MS = 60_000
"""When what was sent is not acknowledged for so long, the connection is given up."""


def connect(
    target: str, config: SshTarget, timeout: float, closing: contextlib.ExitStack
) -> Transport:
    """A transport that is connected and logged in; `closing` gets what ends it.

    Raises TargetUnreachable; `timeout` in seconds bounds each step that the user has no part
    in.
    """
    return _connect(target, config, timeout, closing, MAX_JUMPS, ())


def _connect(
    target: str,
    config: SshTarget,
    timeout: float,
    closing: contextlib.ExitStack,
    jumps: int,
    via: tuple[str, ...],
) -> Transport:
    """`via` are hosts to go through, in place of those of the SSH configuration."""
    settings = read(target, config)
    timeout = settings.connect_seconds or timeout
    prompt = Prompt(batch=settings.batch)
    try:
        carrier = _carrier(target, settings, timeout, closing, jumps, via)
        transport = Transport(carrier)
        closing.callback(transport.close)
        transport.banner_timeout = timeout
        transport.handshake_timeout = timeout
        transport.auth_timeout = _LOGIN_SECONDS
        transport.use_compression(settings.compression)
        _prefer_known(transport, settings)
        transport.start_client(timeout=timeout)
        if not transport.initial_kex_done:
            raise TargetUnreachable(
                target,
                f"{settings.where} takes the connection and says nothing for {timeout:g} s",
                "is that an SSH server, and is it up by now?",
            )
        key = transport.get_remote_server_key()
        passwords = hostkeys.check(target, settings, key, prompt)
        Login(target, transport, settings, prompt, closing).do(passwords=passwords)
    except Unanswered:
        raise TargetUnreachable(target, "the question was not answered") from None
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise _failed(target, settings, error) from None
    transport.set_keepalive(settings.alive_seconds or KEEPALIVE_SECONDS)
    return transport


def _prefer_known(transport: Transport, settings: Settings) -> None:
    """Asks for a key of a kind that is known, where the host has several."""
    kinds = {entry.kind for entry in hostkeys.known(settings) if not entry.revoked}
    if "ssh-rsa" in kinds:
        kinds |= {"rsa-sha2-512", "rsa-sha2-256"}
    options = transport.get_security_options()
    options.key_types = sorted(options.key_types, key=lambda kind: kind not in kinds)


def _carrier(
    target: str,
    settings: Settings,
    timeout: float,
    closing: contextlib.ExitStack,
    jumps: int,
    via: tuple[str, ...],
) -> Any:
    """What carries the SSH connection: a TCP socket, a command's pipes, or another host."""
    if not via and settings.jumps:
        via = settings.jumps
    elif not via and settings.proxy_command:
        proxy = paramiko.ProxyCommand(settings.proxy_command)
        proxy.settimeout(timeout)
        closing.callback(proxy.close)
        return proxy
    if not via:
        return _dialled(settings, timeout, closing)
    if jumps == 0:
        raise TargetUnreachable(target, "ProxyJump leads in a circle", "see ~/.ssh/config")
    hop = _hop(target, via[-1])
    before = _connect(target, hop, timeout, closing, jumps - 1, via[:-1])
    channel = before.open_channel(
        "direct-tcpip", (settings.host, settings.port), ("127.0.0.1", 0), timeout=timeout
    )
    closing.callback(channel.close)
    return channel


def _hop(target: str, text: str) -> SshTarget:
    try:
        return parse_ssh(text.removeprefix("ssh://"))
    except InvalidArgument as error:
        raise TargetUnreachable(target, f"ProxyJump: {error}") from None


def _dialled(
    settings: Settings, timeout: float, closing: contextlib.ExitStack
) -> socket.socket:
    """A TCP connection to the first address that answers."""
    failure: OSError = OSError("it has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(
        settings.host, settings.port, settings.family, socket.SOCK_STREAM
    ):
        carrier = socket.socket(family, kind, protocol)
        try:
            carrier.settimeout(timeout)
            carrier.connect(address)
        except OSError as error:
            carrier.close()
            failure = error
            continue
        carrier.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        carrier.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _LOST_AFTER_MS)
        closing.callback(carrier.close)
        return carrier
    raise failure


def _failed(target: str, settings: Settings, error: Exception) -> TargetUnreachable:
    where = settings.where
    if isinstance(error, socket.gaierror):
        return TargetUnreachable(target, f"{where} has no address: {error.strerror}")
    if isinstance(error, TimeoutError):
        return TargetUnreachable(
            target, f"{where} does not answer", "is it up, is the port open?"
        )
    if isinstance(error, ConnectionRefusedError):
        return TargetUnreachable(target, f"no SSH server listens on {where}")
    if isinstance(error, IncompatiblePeer):
        return TargetUnreachable(
            target, f"{where} and this bpfctl have no algorithm in common: {error}"
        )
    if isinstance(error, paramiko.AuthenticationException):
        return TargetUnreachable(
            target,
            f"{where} does not let {settings.user} in: {error}",
            f"try `{hostkeys.login(settings)}`",
        )
    if isinstance(error, EOFError) or "banner" in str(error):
        return TargetUnreachable(
            target, f"{where} hangs up before it says anything", "is that an SSH server?"
        )
    words = str(error) or type(error).__name__
    return TargetUnreachable(target, f"{where}: {words}")
