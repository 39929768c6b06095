# SPDX-License-Identifier: Apache-2.0
"""Python of a bundle, with what tests need beside it: `drive.py -m MODULE`, `-c CODE`, FILE.

With BPFD_OVERLAY_COMPILE it writes byte code for everything instead; that runs on the
workstation.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from inspect import signature
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))


def _extend_path() -> None:
    library = f"{HERE}/stdlib.zip"
    # A bundle has only some modules of a package.
    for name, module in list(sys.modules.items()):
        if (path := getattr(module, "__path__", None)) is not None:
            path.append(f"{library}/{name.replace('.', '/')}")
    sys.path[:0] = [HERE, f"{HERE}/site", library]
    sys.path.append(f"{HERE}/dynload")
    sys.executable = f"{HERE}/python"


def _complete_packages() -> None:
    """Adds what a bundle lacks of packages that it has."""
    import google.protobuf
    import grpc

    grpc.__path__.append(f"{HERE}/more/grpc")
    google.protobuf.__path__.append(f"{HERE}/more/google/protobuf")
    if "_registered_method" not in signature(grpc.Channel.unary_unary).parameters:
        _take_older_grpc()


def _take_older_grpc() -> None:
    """riscv64 has gRPC 1.51: the daemon gets along with it, and here clients have to."""
    from grpc._channel import Channel

    from bpfd import older_grpc

    older_grpc.accept()
    for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
        setattr(Channel, kind, _without_registration(getattr(Channel, kind)))


def _without_registration(call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arguments: Any, _registered_method: bool = False, **more: Any) -> Any:
        return call(*arguments, **more)

    return wrapped


def _run(arguments: list[str]) -> None:
    while arguments[0] in ("-X", "-W"):
        del arguments[:2]
    match arguments:
        case ["-c", code, *_]:
            sys.argv = ["-c", *arguments[2:]]
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        case ["-m", module, *_]:
            if module == "pytest":
                _complete_packages()
            sys.argv = [module, *arguments[2:]]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case [path, *_]:
            sys.argv = arguments
            runpy.run_path(path, run_name="__main__")


def _compile_all() -> None:
    import compileall

    import pytest

    _complete_packages()
    sys.dont_write_bytecode = False
    for folder in ("site", "more", "tests"):
        compileall.compile_dir(f"{HERE}/{folder}", quiet=2, stripdir=HERE)
    os.chdir(HERE)
    code = pytest.main(["-q", "--collect-only", "tests/kernel"])
    if code != pytest.ExitCode.OK:
        raise SystemExit(f"the tests cannot be collected: {code!r}")
    _compile_library(f"{HERE}/stdlib.zip")


def _compile_library(path: str) -> None:
    import importlib._bootstrap_external as external
    import zipfile

    with zipfile.ZipFile(path) as old, zipfile.ZipFile(path + "c", "w") as new:
        for name in old.namelist():
            code = compile(old.read(name), name, "exec", dont_inherit=True, optimize=2)
            data = external._code_to_hash_pyc(code, bytes(8), False)  # type: ignore[attr-defined]
            new.writestr(name + "c", data, zipfile.ZIP_DEFLATED)
    os.replace(path + "c", path)


if __name__ == "__main__":
    for _name in ("ssl", "_hashlib"):  # as the daemon does: a bundle has no OpenSSL
        sys.modules.setdefault(_name, None)  # type: ignore[arg-type]
    _extend_path()
    if os.environ.get("BPFD_OVERLAY_COMPILE"):
        _compile_all()
    else:
        _run(sys.argv[1:])
