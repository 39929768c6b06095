# SPDX-License-Identifier: Apache-2.0
"""`bpfctl` itself: the list of commands, and how the program starts and ends."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from bpfctl.cli import interrupt
from bpfctl.cli.invocation import Invocation, pass_invocation
from bpfctl.cli.lazy import Entry, LazyGroup

COMMANDS = {
    "run": Entry("run", "Build, load, attach, show events and maps; leave nothing behind."),
    "build": Entry("build", "Compile BPF C for a target."),
    "preflight": Entry("preflight", "Whether an object fits targets; nothing is touched."),
    "verify": Entry("verify", "What the verifier of each target says of each program."),
    "load": Entry("load", "Load an object; it stays until unload."),
    "attach": Entry("attach", "Attach a program; it stays until detach."),
    "detach": Entry("detach", "Detach a link."),
    "unload": Entry("unload", "Detach an object's links and drop it."),
    "top": Entry("top", "What every program costs: runs, time, CPU share, live."),
    "profile": Entry("profile", "Where CPUs spend their time, where threads wait: stacks."),
    "test-run": Entry("test_run", "Run a program with packets: verdict, changes, time."),
    "events": Entry("events", "Show the events of a ring buffer or perf buffer."),
    "map": Entry("map", "Maps: list, show, dump, get, set, delete."),
    "metrics": Entry("metrics", "What loaded packages and the daemon count, as OpenMetrics."),
    "object": Entry("object", "Objects that the daemon holds: list, show."),
    "trace": Entry("trace", "Calls of functions and tracepoints, with arguments, without C."),
    "program": Entry("program", "Programs of the kernel: list, show, dump, graph."),
    "ps": Entry("ps", "Every program: where it runs, who holds it, its maps and memory."),
    "net": Entry("net", "Programs of network namespaces and interfaces, in order."),
    "cgroup": Entry("cgroup", "Programs of control groups: tree."),
    "link": Entry("link", "Links: list, show, update."),
    "target": Entry("target", "Targets: add, list, info, remove."),
    "doctor": Entry("doctor", "What a target can do, what is missing, and what helps."),
    "lab": Entry("lab", "Virtual boards: list, up, down, ssh, run."),
    "btf": Entry("btf", "Types: dump; of kernels without: fetch, add, list, remove."),
    "symbols": Entry(
        "symbols", "Functions and lines of addresses: resolve, add, list, remove."
    ),
    "bundle": Entry("bundle", "The daemon as one file for devices: build, list, show."),
    "pki": Entry("pki", "Certificates for targets over TCP: init, issue."),
}

EXIT_CODES = """\b
Exit codes:
  0    done
  1    any other error: a compiler's, the kernel's, the daemon's
  2    wrong usage, or a value that does not fit
  3    the verifier refused a program
  4    there is nothing of that name
  5    the target cannot be reached, or speaks another API
  6    a permission or a role is missing
  7    the target's kernel or daemon does not support it
  8    busy: someone else is attached there, or a limit was met
  130  interrupted before the work was done (Ctrl-C)
  141  the reader of the output went away
With several targets (-t a,b) it is the first of 1, 5, 6, 8, 7, 4, 2, 3 that one gave."""


@click.command(
    cls=LazyGroup,
    entries=COMMANDS,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="bpfd", prog_name="bpfctl")
@click.option(
    "-t",
    "--target",
    metavar="TARGET",
    help="Target to speak to, or several: a,b,group:edge [BPFCTL_TARGET, local].",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "jsonl", "yaml", "csv"]),
    help="How rows are written [table].",
)
@click.option("-v", "--verbose", is_flag=True, help="Say more, as all of a verifier's log.")
@pass_invocation
def root(invocation: Invocation, target: str | None, output: str | None, verbose: bool) -> None:
    """Load, attach and read BPF programs on this machine or on a target elsewhere.

    -t, -o and --verbose may stand before or behind the command.
    """
    invocation.take(target, output, verbose)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line (None: of this process) and exit."""
    # gRPC's own log lines would stand between ours; what failed is in the errors.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    interrupt.install()
    if "_BPFCTL_COMPLETE" in os.environ:
        root.main(arguments, prog_name="bpfctl")
    try:
        code: object = run(arguments)
    except SystemExit as error:
        code = error.code
    _leave(code if isinstance(code, int) else 1)


def _leave(code: int) -> NoReturn:
    """Ends the process without Python's own way down: there gRPC's objects are freed after
    its threads were stopped wherever they were, and wait for locks that those hold."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            code = 141
        except (OSError, ValueError):
            code = code or 1
    os._exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and give its exit code; errors are written to standard error."""
    invocation = Invocation()
    try:
        # Not root.main(): click's own would turn a closed pipe and Ctrl-C into exit code 1.
        given = sys.argv[1:] if arguments is None else list(arguments)
        with root.make_context("bpfctl", given, obj=invocation) as context:
            root.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("", err=True)
        return 130
    except BrokenPipeError:
        # What is still in the buffer must not be written when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        from bpfctl.cli.failures import show

        return show(error, verbose=invocation.verbose)
    return invocation.exit_code
