# SPDX-License-Identifier: Apache-2.0
"""The bundle's two scripts. A POSIX shell runs them; they start no program but Python."""

from __future__ import annotations

LOADER = "bin/bpfd"
"""The dynamic loader, under the name that `ps` shall show."""

_FIND = """\
case $0 in
*/*) here=${0%/*}/ ;;
*) here=./ ;;
esac
"""

_START = """\
here=$(unset CDPATH; cd "$here" && pwd) || exit 127
# What others preload belongs to another C library.
unset LD_PRELOAD LD_AUDIT LD_LIBRARY_PATH
exec "$here/bin/bpfd" --inhibit-cache --library-path "$here/lib" --argv0 "$here/bin/python3" \\
\t"$here/bin/python{version}" {arguments} "$@"
"""


def daemon(version: str) -> bytes:
    """`bpfd/bpfd`: the daemon's command line, in a Python that heeds no environment."""
    text = (
        "#!/bin/sh\n# Starts bpfd from wherever this folder is; `--python` starts its Python.\n"
        + _FIND
        + 'if [ "${1-}" = --python ]; then\n\tshift\n\texec "${here}bin/python3" "$@"\nfi\n'
        + _START.format(version=version, arguments="-I -S -B -X utf8 -m bpfd")
    )
    return text.encode()


def python(version: str) -> bytes:
    """`bpfd/bin/python3`, which is `sys.executable`: the program beside it cannot be started
    by itself, as its loader is not where it says."""
    text = (
        "#!/bin/sh\n# Python of this folder.\n"
        + _FIND
        + "here=$here..\n"
        + _START.format(version=version, arguments="-S -s -B -X utf8")
    )
    return text.encode()
