# SPDX-License-Identifier: Apache-2.0
"""Ways to a target's daemon: one file for each, all of them end in a gRPC channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bpfctl.config import AdbTarget, LocalTarget, SshTarget, TargetConfig, TcpTarget

if TYPE_CHECKING:
    import grpc

    from bpfctl.errors import BpfctlError

ChannelOptions = list[tuple[str, int | str]]

MAX_METADATA_BYTES = 64 * 1024
"""A verifier log comes in the trailing metadata; gRPC's own bound of 8 KiB is too small."""

KEEPALIVE_SECONDS = 30
"""How often a network transport asks whether the far side is still there."""


class Connection(Protocol):
    """A way to a daemon, open until `close`."""

    @property
    def channel(self) -> grpc.Channel: ...

    def explain(self, details: str) -> BpfctlError:
        """Why a call met nobody, with what to do about it; `details` is gRPC's own text."""
        ...

    def close(self) -> None:
        """Give back everything; a second call does nothing."""
        ...


def open_connection(name: str, config: TargetConfig, timeout: float) -> Connection:
    """The way to the target `name`; raises TargetUnreachable within `timeout` seconds.

    Local and TCP channels connect with the first call, SSH and adb connect here.
    """
    if isinstance(config, LocalTarget):
        from bpfctl.transport.local import LocalConnection

        return LocalConnection(name, config)
    if isinstance(config, SshTarget | AdbTarget) and config.home:
        from bpfctl.bootstrap.shell import open_shell
        from bpfctl.transport.home import HomeConnection

        return HomeConnection(name, open_shell(name, config, timeout), config.home)
    if isinstance(config, SshTarget):
        from bpfctl.transport.ssh import SshConnection

        return SshConnection(name, config, timeout)
    if isinstance(config, TcpTarget):
        from bpfctl.transport.tcp import TcpConnection

        return TcpConnection(name, config)
    from bpfctl.transport.adb import AdbConnection

    return AdbConnection(name, config, timeout)


def channel_options(*, keepalive: bool) -> ChannelOptions:
    """Options of every channel; `keepalive` for those that cross a network."""
    options: ChannelOptions = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5000),
        # One connection for each Target: closing it ends its sessions at once.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if keepalive:
        options += [
            ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # An idle session is a stream without data: keep asking all the same.
            ("grpc.http2.max_pings_without_data", 0),
        ]
    return options
