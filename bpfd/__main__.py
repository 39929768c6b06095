# SPDX-License-Identifier: Apache-2.0
"""The command `bpfd`: the daemon, and the far end of ssh connections to it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from bpfd import __version__

SOCKET = "/run/bpfd/bpfd.sock"
STATE_DIR = "/run/bpfd"
EX_CANTCREAT = 73

_EXIT_CODES = """\
exit codes:
  0   ended by SIGTERM, SIGINT or --idle-exit; with --detach: it is ready
  1   purge: something could not be removed
  2   wrong arguments
  69  libbpf is missing; dial-stdio: no daemon is there
  70  with --detach: it was killed before it was ready
  73  a folder, socket or file cannot be made
  75  another bpfd has the socket or the bpffs folder
  77  privileges are missing
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bpfd",
        description="Loads, attaches and reads BPF programs for clients.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"bpfd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the daemon")
    add = serve.add_argument
    add("--socket", default=SOCKET, metavar="PATH", help="operators connect here (%(default)s)")
    add(
        "--read-only-socket",
        metavar="PATH",
        help="viewers connect here (the socket's name with -ro)",
    )
    add(
        "--state-dir",
        default=STATE_DIR,
        metavar="DIR",
        help="what the daemon keeps until the next boot (%(default)s)",
    )
    add(
        "--bpffs",
        default="/sys/fs/bpf",
        metavar="DIR",
        help="pins go below DIR/bpfd; mounted when it is no bpffs (%(default)s)",
    )
    add("--listen", metavar="HOST:PORT", help="TCP with mutual TLS; needs the three files")
    add("--tls-ca", metavar="FILE", help="PEM certificates that sign the clients' ones")
    add("--tls-cert", metavar="FILE", help="PEM certificate chain of this target")
    add("--tls-key", metavar="FILE", help="PEM private key of this target")
    add(
        "--audit-log",
        metavar="FILE",
        help="JSON lines of all changes (audit.jsonl in the state folder)",
    )
    add(
        "--idle-exit",
        type=float,
        metavar="SECONDS",
        help="end after so long without a call and without a session",
    )
    add(
        "--metrics",
        metavar="ADDRESS:PORT",
        help="metrics as OpenMetrics over HTTP on a loopback address; needs prometheus_client",
    )
    add(
        "--metrics-everywhere",
        action="store_true",
        help="let --metrics have any address: whoever reaches it may read",
    )
    add("--ready-fd", type=int, metavar="N", help="write a line to this descriptor when ready")

    add("--detach", action="store_true", help="go on in the background when ready")
    add(
        "--log",
        metavar="FILE",
        help="with --detach: what the daemon says, written anew (bpfd.log in the state folder)",
    )

    purge = commands.add_parser(
        "purge", help="detach and remove all that daemons have left; none may be running"
    )
    for name, metavar, default in (
        ("--state-dir", "DIR", STATE_DIR),
        ("--bpffs", "DIR", "/sys/fs/bpf"),
    ):
        purge.add_argument(name, metavar=metavar, default=default, help="(%(default)s)")

    dial = commands.add_parser(
        "dial-stdio", help="connect standard input and output to the daemon"
    )
    dial.add_argument("--socket", default=SOCKET, metavar="PATH", help="(%(default)s)")
    return parser


def read_only_socket(path: str) -> str:
    """The viewers' socket beside the operators': bpfd-ro.sock beside bpfd.sock."""
    stem, extension = os.path.splitext(path)
    return f"{stem}-ro{extension}"


def _keep_small() -> None:
    """What must be settled before asyncio and gRPC are imported."""
    # The daemon starts no process that could need gRPC after a fork, and gRPC's notices
    # are not the daemon's log.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # asyncio and hashlib would load OpenSSL, 5 MB for nothing: gRPC brings its own TLS,
    # and Python has a SHA-256 of its own.
    for module in ("ssl", "_hashlib"):
        sys.modules.setdefault(module, None)  # type: ignore[arg-type]
    if sys.version_info >= (3, 12):
        # All that gRPC takes from it is in `typing` by then; it would be 0.4 MB.
        import typing

        sys.modules.setdefault("typing_extensions", typing)


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends the process when options of `serve` do not fit together."""
    tls = [options.tls_ca, options.tls_cert, options.tls_key]
    if options.listen and not all(tls):
        parser.error("--listen needs --tls-ca, --tls-cert and --tls-key: TCP is never insecure")
    if any(tls) and not options.listen:
        parser.error("--tls-ca, --tls-cert and --tls-key need --listen")
    if options.read_only_socket == options.socket:
        parser.error("--read-only-socket must be another path than --socket")
    if options.idle_exit is not None and options.idle_exit <= 0:
        parser.error("--idle-exit needs a positive number of seconds")
    if options.detach and options.ready_fd is not None:
        parser.error("--detach and --ready-fd are two ways to the same end")
    if options.log and not options.detach:
        parser.error("--log belongs to --detach")


def _metrics(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> tuple[str, int] | None:
    """Where the page of metrics goes; ends the process when it must not go there."""
    if not options.metrics:
        if options.metrics_everywhere:
            parser.error("--metrics-everywhere belongs to --metrics")
        return None
    from bpfd.metrics import address

    try:
        found = address.parse(options.metrics)
    except ValueError as error:
        parser.error(f"--metrics: {error}")
    if not address.is_loopback(found[0]) and not options.metrics_everywhere:
        parser.error(
            f"--metrics: others can reach {found[0]}, and nobody is asked who they are: take"
            " 127.0.0.1 and a tunnel (ssh -L), or add --metrics-everywhere"
        )
    return found


def _log(options: argparse.Namespace) -> str:
    """File for what a detached daemon says; its folder is made."""
    path = os.path.abspath(options.log or os.path.join(options.state_dir, "bpfd.log"))
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "dial-stdio":
        from bpfd.dial_stdio import dial

        return dial(options.socket)

    if options.command == "purge":
        _keep_small()
        from bpfd import purge

        return purge.run(os.path.abspath(options.bpffs), os.path.abspath(options.state_dir))
    _check(parser, options)
    _keep_small()
    metrics = _metrics(parser, options)
    if options.detach:
        from bpfd.detach import detach

        try:
            options.ready_fd, code = detach(_log(options))
        except OSError as error:
            print(f"bpfd: {error.filename}: {error.strerror}", file=sys.stderr)
            return EX_CANTCREAT
        if options.ready_fd < 0:
            return code
    from bpfd import older_grpc

    older_grpc.accept()
    from bpfd import daemon, server

    return server.run(
        daemon.Options(
            socket=os.path.abspath(options.socket),
            read_only_socket=os.path.abspath(
                options.read_only_socket or read_only_socket(options.socket)
            ),
            state_dir=os.path.abspath(options.state_dir),
            bpffs=os.path.abspath(options.bpffs),
            listen=options.listen,
            tls_ca=options.tls_ca,
            tls_cert=options.tls_cert,
            tls_key=options.tls_key,
            audit_log=options.audit_log,
            idle_exit=options.idle_exit,
            ready_fd=options.ready_fd,
            metrics=metrics,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
