# SPDX-License-Identifier: Apache-2.0
"""The daemon's life: locks, folders, endpoints, signals, and the way down."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys

from bpfd import __version__, endpoints, errors
from bpfd.audit import DEFAULT_LIMIT, Audit
from bpfd.daemon import (
    EX_CANTCREAT,
    EX_NOPERM,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    Daemon,
    Options,
    StartError,
)
from bpfd.kernel import bpffs, host, libbpf, lockfile, mounts, pages
from bpfd.quiet import Quiet

STOP_GRACE = 2.0
"""Seconds that calls have to end by themselves when the daemon stops."""

QUIET_SECONDS = 5.0
"""Without a call, until memory is given back that only calls need."""

_log = logging.getLogger("bpfd")


def run(options: Options) -> int:
    """Serves until told to end; returns the exit code."""
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    host.limit_memory_pools()
    try:
        _check_privileges()
        _check_libbpf()
        host.raise_limits()
        with contextlib.ExitStack() as undo:
            _take(options, undo)
            asyncio.run(_serve(options, undo))
    except StartError as error:
        print(f"bpfd: {error}", file=sys.stderr)
        return error.code
    return 0


def _check_privileges() -> None:
    """Refuses before anything is made; what only some calls need is logged."""
    bits = host.capabilities()
    if not host.has_capability("CAP_BPF", bits):
        raise StartError(
            EX_NOPERM,
            "no permission: the daemon needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and "
            "CAP_SYS_ADMIN; start it as root",
        )
    for name, loses in (
        ("CAP_NET_ADMIN", "network programs cannot be attached"),
        ("CAP_PERFMON", "tracing programs cannot be loaded"),
        ("CAP_SYS_ADMIN", "programs and maps of others cannot be listed, nothing be mounted"),
    ):
        if not host.has_capability(name, bits):
            _log.warning("no %s: %s", name, loses)


def _check_libbpf() -> None:
    try:
        libbpf.library()
    except (errors.NotSupported, AttributeError) as error:
        raise StartError(EX_UNAVAILABLE, f"{error}; on Debian: apt install libbpf1") from None


def _take(options: Options, undo: contextlib.ExitStack) -> None:
    """Makes the folders and takes the locks."""
    pins = os.path.join(options.bpffs, "bpfd")
    try:
        for path in (options.socket, options.read_only_socket):
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            _hold(path, undo)
        os.makedirs(options.state_dir, mode=0o755, exist_ok=True)
        mounts.ensure_bpffs(options.bpffs)
        os.makedirs(pins, mode=0o700, exist_ok=True)
        undo.callback(os.close, lockfile.lock_folder(pins))
        undo.callback(bpffs.remove_empty, pins)
    except lockfile.Held as held:
        raise StartError(
            EX_TEMPFAIL,
            f"another bpfd (pid {held.pid}) keeps its pins in {pins}; give --bpffs DIR",
        ) from None
    except OSError as error:
        raise StartError(EX_CANTCREAT, f"{error.filename}: {error.strerror}") from None
    except errors.BpfdError as error:
        raise StartError(EX_CANTCREAT, str(error)) from None


def _hold(path: str, undo: contextlib.ExitStack) -> None:
    try:
        undo.callback(lockfile.acquire(path + ".lock").release)
    except lockfile.Held as held:
        raise StartError(
            EX_TEMPFAIL, f"another bpfd (pid {held.pid}) serves {path}; give --socket PATH"
        ) from None


async def _serve(options: Options, undo: contextlib.ExitStack) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    default_log = os.path.join(options.state_dir, "audit.jsonl")
    audit = Audit(options.audit_log or default_log, 0 if options.audit_log else DEFAULT_LIMIT)
    daemon = Daemon(options, audit, undo=undo)
    services = endpoints.services(daemon)
    listening = endpoints.open_all(daemon, services)
    page = None
    if options.metrics is not None:
        from bpfd.metrics import port

        page = await port.serve(services.exporter, *options.metrics)
        listening.names.append(f"http://{page.name}/metrics")
    for server in listening.servers:
        await server.start()
    _IdleExit(daemon, services, stop)
    host.set_process_name("bpfd")
    gc.collect()
    gc.freeze()
    _rest()
    Quiet(daemon.activity, QUIET_SECONDS, _rest)
    _announce(options, listening.names)
    await stop.wait()
    _log.info("ending")
    notify("STOPPING=1")
    if page is not None:
        await page.close()
    await services.close("the daemon is shutting down")
    await asyncio.gather(*(server.stop(STOP_GRACE) for server in listening.servers))
    await services.closed()


def _rest() -> None:
    """Gives back what serving calls, or starting, took and an idle daemon does not need."""
    host.give_back_memory()
    pages.release_file_pages()


class _IdleExit:
    """Sets `stop` when for `idle_exit` seconds there was no call and no session."""

    def __init__(
        self, daemon: Daemon, services: endpoints.Services, stop: asyncio.Event
    ) -> None:
        self._seconds = daemon.options.idle_exit
        self._daemon, self._services, self._stop = daemon, services, stop
        self._timer: asyncio.TimerHandle | None = None
        if self._seconds is not None:
            daemon.activity.watchers.append(self._changed)
            self._changed()

    def _changed(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._daemon.activity.calls == 0 and self._seconds is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self._expired)

    def _expired(self) -> None:
        if self._services.busy():
            self._changed()
            return
        _log.info("idle for %g s", self._seconds)
        self._stop.set()


def _announce(options: Options, names: list[str]) -> None:
    line = f"bpfd {__version__} ready on {', '.join(names)}"
    print(line, file=sys.stderr, flush=True)
    if options.ready_fd is not None:
        with contextlib.suppress(OSError):
            os.write(options.ready_fd, line.encode() + b"\n")
            os.close(options.ready_fd)
    notify(f"READY=1\nMAINPID={os.getpid()}")


def notify(state: str) -> None:
    """Tells the service supervisor, as sd_notify(3) does; without one, nothing."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect("\0" + path[1:] if path.startswith("@") else path)
        out.sendall(state.encode())
