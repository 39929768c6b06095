# SPDX-License-Identifier: Apache-2.0
"""Services, and the sockets that they are served on.

Every endpoint is a gRPC server of its own, so that its interceptor knows the role of
whoever connects there; the servicers are the same instances everywhere.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import grpc.aio

from bpfd import work
from bpfd.daemon import EX_CANTCREAT, Daemon, StartError
from bpfd.interceptor import Interceptor
from bpfd.kernel import host
from bpfd.metrics.exporter import Exporter
from bpfd.objects.objects import Objects
from bpfd.security import RULES, Role
from bpfd.services.deployments import DeploymentsService
from bpfd.services.events import EventsService
from bpfd.services.files import FilesService
from bpfd.services.links import LinksService
from bpfd.services.maps import MapsService
from bpfd.services.objects import ObjectsService
from bpfd.services.programs import ProgramsService
from bpfd.services.sessions import SessionsService
from bpfd.services.target import TargetService
from bpfd.sessions import Sessions
from bpfd.v1 import (
    deployments_pb2_grpc,
    events_pb2_grpc,
    files_pb2_grpc,
    links_pb2_grpc,
    maps_pb2_grpc,
    objects_pb2_grpc,
    programs_pb2_grpc,
    sessions_pb2_grpc,
    target_pb2_grpc,
)

MAX_MESSAGE_BYTES = 80 << 20
MAX_METADATA_BYTES = 64 << 10

GROUP = "bpfd"
VIEWER_GROUP = "bpfd-viewer"

_log = logging.getLogger("bpfd")

OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.max_concurrent_streams", 1024),
    # Two daemons must not share a TCP port.
    ("grpc.so_reuseport", 0),
    # Large frames and windows: objects and batches are megabytes.
    ("grpc.http2.max_frame_size", 1 << 20),
    ("grpc.http2.lookahead_bytes", 4 << 20),
    # A client that vanished without a word (a cut cable, a suspended laptop, an ssh
    # connection that died) is noticed after two minutes at most, while it has calls open;
    # a connection without calls is never pinged.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 30_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # Clients may look after the daemon more often than that.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.enable_channelz", 0),
]
"""What every server of the daemon is made with."""


@dataclass
class Services:
    """The servicers of one daemon and how they end."""

    sessions: Sessions
    objects: Objects
    maps: MapsService
    events: EventsService
    exporter: Exporter
    registrars: list[Callable[[grpc.aio.Server], None]] = field(default_factory=list)
    health: Any = None

    def busy(self) -> bool:
        """Whether a session lives, be it within its grace period."""
        return self.sessions.active

    async def close(self, reason: str) -> None:
        """Ends sessions and streams, with a word to their clients."""
        if self.health is not None:
            await self.health.enter_graceful_shutdown()
        await self.sessions.close(reason)
        await self.maps.close(reason)
        await self.events.close(reason)

    async def closed(self) -> None:
        """Gives back what no session owned; pinned things stay."""
        await work.run(self.objects.close)


def services(daemon: Daemon) -> Services:
    """Builds every service, and takes over what an earlier daemon left."""
    sessions = Sessions()
    objects = Objects(daemon.options.bpffs, daemon.options.state_dir, sessions)
    objects.take_over()
    maps, events = MapsService(objects), EventsService(objects)
    exporter = Exporter(objects.registry, daemon.activity.served, lambda: sessions.count)
    found = Services(sessions, objects, maps, events, exporter)
    deployments = DeploymentsService()  # type: ignore[abstract]  # the interceptor answers
    found.registrars += [
        partial(
            target_pb2_grpc.add_TargetServicer_to_server, TargetService(sessions, exporter)
        ),
        partial(objects_pb2_grpc.add_ObjectsServicer_to_server, ObjectsService(objects)),
        partial(programs_pb2_grpc.add_ProgramsServicer_to_server, ProgramsService(objects)),
        partial(links_pb2_grpc.add_LinksServicer_to_server, LinksService(objects)),
        partial(maps_pb2_grpc.add_MapsServicer_to_server, maps),
        partial(events_pb2_grpc.add_EventsServicer_to_server, events),
        partial(
            files_pb2_grpc.add_FilesServicer_to_server, FilesService(daemon.options.state_dir)
        ),
        partial(sessions_pb2_grpc.add_SessionsServicer_to_server, SessionsService(sessions)),
        partial(deployments_pb2_grpc.add_DeploymentsServicer_to_server, deployments),
    ]
    _add_health(found)
    found.registrars.append(_add_reflection)
    return found


def _add_health(found: Services) -> None:
    try:
        from grpc_health.v1 import health, health_pb2_grpc
    except ImportError as error:
        _log.info("no health service: %s", error)
        return
    found.health = health.aio.HealthServicer()
    found.registrars.append(partial(health_pb2_grpc.add_HealthServicer_to_server, found.health))


class _Reflection(grpc.GenericRpcHandler):
    """The reflection service, imported when somebody asks for it."""

    METHOD = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

    def __init__(self) -> None:
        self._handler: grpc.RpcMethodHandler[Any, Any] | None = None

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler, for its one method."""
        if handler_call_details.method != self.METHOD:
            return None
        if self._handler is None:
            try:
                from grpc_reflection.v1alpha import reflection, reflection_pb2
            except ImportError as error:
                _log.info("no reflection: %s", error)
                return None
            names = sorted({method.split("/")[1] for method in RULES})
            servicer = reflection.aio.ReflectionServicer(names)
            self._handler = grpc.stream_stream_rpc_method_handler(
                servicer.ServerReflectionInfo,
                reflection_pb2.ServerReflectionRequest.FromString,
                reflection_pb2.ServerReflectionResponse.SerializeToString,
            )
        return self._handler


def _add_reflection(server: grpc.aio.Server) -> None:
    server.add_generic_rpc_handlers((_Reflection(),))


@dataclass
class Listening:
    """Servers that are bound but not started, and how to name them."""

    servers: list[grpc.aio.Server] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def open_all(daemon: Daemon, found: Services) -> Listening:
    """Binds every endpoint; sockets that a killed daemon left are replaced.

    Raises StartError.
    """
    options = daemon.options
    # The last gRPC object to go would join gRPC's poller thread, which may wait for calls
    # whose event loop is closed by then: the daemon would not end.
    grpc.aio.init_grpc_aio()
    listening = Listening()
    for path, role, group in (
        (options.socket, Role.OPERATOR, GROUP),
        (options.read_only_socket, Role.VIEWER, VIEWER_GROUP),
    ):
        server = _server(daemon, found, role)
        _bind_unix(server, path, group)
        daemon.undo.callback(_unlink, path)
        listening.servers.append(server)
        listening.names.append(path)
    if options.listen:
        server = _server(daemon, found, None)
        port = _bind_tcp(server, daemon)
        listening.servers.append(server)
        listening.names.append(f"{options.listen.rpartition(':')[0]}:{port}")
    return listening


def _server(daemon: Daemon, found: Services, role: Role | None) -> grpc.aio.Server:
    interceptor = Interceptor(role, daemon.audit, daemon.activity)
    server = grpc.aio.server(interceptors=[interceptor], options=OPTIONS)
    for register in found.registrars:
        register(server)
    return server


def _bind_unix(server: grpc.aio.Server, path: str, group: str) -> None:
    """Mode 0660, and the group's if there is one: at no moment may others connect."""
    before = os.umask(0o177)
    try:
        _remove_socket(path)
        server.add_insecure_port(f"unix:{path}")
        if (number := host.group_id(group)) is not None:
            os.chown(path, -1, number)
        os.chmod(path, 0o660)
    except (OSError, RuntimeError) as error:
        raise StartError(EX_CANTCREAT, f"cannot listen on {path}: {error}") from None
    finally:
        os.umask(before)


def _bind_tcp(server: grpc.aio.Server, daemon: Daemon) -> int:
    options = daemon.options
    assert options.listen is not None
    try:
        ca, certificate, key = (
            host.read_bytes(path or "")
            for path in (options.tls_ca, options.tls_cert, options.tls_key)
        )
        credentials = grpc.ssl_server_credentials(
            [(key, certificate)], root_certificates=ca, require_client_auth=True
        )
        port: int = server.add_secure_port(options.listen, credentials)
    except OSError as error:
        raise StartError(EX_CANTCREAT, f"{error.filename}: {error.strerror}") from None
    except (RuntimeError, ValueError) as error:
        raise StartError(EX_CANTCREAT, f"cannot listen on {options.listen}: {error}") from None
    return port


def _remove_socket(path: str) -> None:
    """Removes a socket that was left behind; anything else stays. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is no socket", path)
        os.unlink(path)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        _remove_socket(path)
