# SPDX-License-Identifier: Apache-2.0
"""Bundles are small, the same each time, complete, and run where there is only a shell."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from bpfctl import bundle, pki
from bpfctl.bundle import deb
from bpfctl.bundle.inside.imports import imports_of
from bpfctl.config import cache_dir
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from bpfd import __version__
from bpfd.v1 import target_pb2, target_pb2_grpc
from tests.kernel import bare_support, cli_support
from tests.kernel.bare_support import ARCH, BareDaemon
from tests.kernel.cli_support import getppid, needs_clang

MOST_BYTES = 15_000_000

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def native() -> bundle.Bundle:
    return bundle.build(ARCH)


@pytest.fixture
def contents(native: bundle.Bundle) -> dict[str, bytes]:
    found = {}
    with tarfile.open(native.path) as tar:
        for entry in tar:
            if entry.isfile():
                file = tar.extractfile(entry)
                assert file is not None
                found[entry.name] = file.read()
    return found


@pytest.fixture(scope="module", params=["busybox", "mksh"])
def root(
    request: pytest.FixtureRequest,
    native: bundle.Bundle,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    path = tmp_path_factory.mktemp("bare") / "root"
    bare_support.make_root(path, native, request.param)
    return path


@pytest.fixture
def bare(root: Path) -> Iterator[BareDaemon]:
    daemon = bare_support.daemon(root)
    daemon.start()
    yield daemon
    daemon.end()


@pytest.mark.parametrize("arch", bundle.architectures())
def test_a_bundle_is_small(arch: str) -> None:
    built = bundle.build(arch)
    print(f"{arch}: {built.size} bytes")
    assert built.size == built.path.stat().st_size <= MOST_BYTES
    assert bundle.build(arch) == built


def test_the_same_inputs_give_the_same_bytes(
    native: bundle.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cache_dir()
    (tmp_path / "debian").mkdir()
    for name in (f"debian/trixie-{ARCH}", "wheels"):
        (tmp_path / name).symlink_to(real / name)
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path))
    again = bundle.build(ARCH)
    assert again.path != native.path
    assert again.sha256 == native.sha256


def test_the_manifest_is_true(native: bundle.Bundle, contents: dict[str, bytes]) -> None:
    manifest = bundle.show(native.path)
    files = {name.removeprefix("bpfd/"): data for name, data in contents.items()}
    del files["manifest.json"]
    assert manifest["files"] == {
        name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())
    }
    assert (manifest["version"], manifest["architecture"]) == (__version__, ARCH)
    components = {each["name"]: each for each in manifest["components"]}
    assert {"bpfd", "grpcio", "protobuf", "libc6", "libbpf1", "python3.13-minimal"} <= set(
        components
    )
    for each in components.values():
        assert each["licenses"]
        assert set(each["licenses"]) <= set(files)
        assert re.fullmatch(r"[0-9a-f]{64}", each["sha256"])
    assert b"://" not in contents["bpfd/manifest.json"]


def test_all_that_the_daemon_imports_is_there(root: Path) -> None:
    """Each module of the daemon, and each name that any of its functions imports."""
    own = bundle.resolve.daemon()
    wanted = set()
    for file in own.files:
        parts = file.relative_to(own.folder.parent).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        if name != "bpfd.__main__":
            wanted.add((name, ""))
        for each in imports_of(file.read_bytes(), name, file.name == "__init__.py"):
            if not each.optional and each.name != "ssl":
                wanted.add((each.name, each.attribute))
    code = (
        "import importlib, json, sys\n"
        "from bpfd import __main__ as main\n"
        "main._keep_small()\n"
        f"for name, attribute in json.loads({json.dumps(json.dumps(sorted(wanted)))}):\n"
        "    module = importlib.import_module(name)\n"
        "    if attribute and not hasattr(module, attribute):\n"
        "        importlib.import_module(name + '.' + attribute)\n"
        "print(len(sys.modules))\n"
    )
    done = bare_support.run(root, "/opt/bpfd/bpfd", "--python", "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > len(own.files)


def test_its_python_starts_itself_again(root: Path) -> None:
    code = (
        "import os, sys\n"
        "print(sys.executable, sys.path, 'HOME' in os.environ, flush=True)\n"
        "os.execv(sys.executable, [sys.executable, '-c', 'import bpfd; print(bpfd.__file__)'])"
    )
    done = bare_support.run(root, "/opt/bpfd/bpfd", "--python", "-c", code)
    library = "/opt/bpfd/lib/python3.13"
    path = ["", "/opt/bpfd/lib/python313.zip", library, f"{library}/lib-dynload"]
    assert done.stdout.splitlines() == [
        f"/opt/bpfd/bin/python3 {path} False",
        f"{library}/bpfd/__init__.pyc",
    ]


def test_arguments_and_exit_codes_come_through(root: Path) -> None:
    done = bare_support.run(root, "/opt/bpfd/bpfd", "--version")
    assert (done.returncode, done.stdout) == (0, f"bpfd {__version__}\n")
    assert bare_support.run(root, "/opt/bpfd/bpfd", "serve", "--socket").returncode == 2
    done = bare_support.run(root, "/bin/sh", "-c", "cd /opt/bpfd && ./bpfd --version")
    assert done.stdout == f"bpfd {__version__}\n"


def test_the_process_of_the_daemon(bare: BareDaemon) -> None:
    process = Path(f"/proc/{bare.pid}")
    assert (process / "comm").read_text() == "bpfd\n"
    assert (process / "exe").readlink() == bare.root / "opt/bpfd/bin/bpfd"
    # Shells export these by themselves.
    assert bare.environment().keys() <= {"PATH", "PWD", "_", "OLDPWD", "SHLVL"}
    maps = (process / "maps").read_text()
    files = {line.split()[5] for line in maps.splitlines() if len(line.split()) > 5}
    own = str(bare.root / "opt/bpfd")
    assert {name for name in files if name.startswith("/")} - {
        name for name in files if name.startswith(own)
    } == set()
    rollup = (process / "smaps_rollup").read_text()
    pss = re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)
    assert pss is not None
    print(f"PSS of the idle daemon: {int(pss[1]) * 1024 / 1e6:.1f} MB")


def test_health_and_reflection(bare: BareDaemon) -> None:
    with bare.channel() as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
        assert "bpfd.v1.Objects" in services


def test_what_the_target_is(bare: BareDaemon) -> None:
    with bare.channel() as channel:
        info = target_pb2_grpc.TargetStub(channel).GetTarget(
            target_pb2.GetTargetRequest(features=True)
        )
    assert info.daemon_version == __version__
    assert info.daemon_pid == bare.pid
    assert info.features


@needs_clang
def test_programs_maps_and_events(bare: BareDaemon, tmp_path: Path) -> None:
    folder = tmp_path / "client"
    folder.mkdir()
    cli = cli_support.make(bare, folder)
    with cli.running("--no-maps", "--count", "3", "-o", "jsonl") as running:
        stop = threading.Event()
        worker = threading.Thread(target=_call_until, args=(stop,))
        worker.start()
        out, err = running.communicate(timeout=60)
        stop.set()
        worker.join()
    assert running.returncode == 0, err
    assert len(out.splitlines()) == 3
    assert cli.json("object", "list") == []


def _call_until(stop: threading.Event) -> None:
    while not stop.wait(0.01):
        getppid(1)


def test_dial_stdio(bare: BareDaemon) -> None:
    """The preface and settings of HTTP/2 are answered by the daemon's settings."""
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    command = ("/opt/bpfd/bpfd", "dial-stdio", "--socket", f"{bare.own_folder}/bpfd.sock")
    done = bare_support.run(bare.root, *command, stdin=hello)
    assert done.returncode == 0
    assert done.stdout[3:4] == "\4"


def test_nothing_is_written_but_where_it_was_told(bare: BareDaemon) -> None:
    before = {"bpfd.sock", "bpfd-ro.sock", "bpfd.sock.lock", "bpfd-ro.sock.lock"}
    assert {each.name for each in bare.folder.iterdir()} == before | {"state", "log", "bpf"}
    assert {each.name for each in bare.root.iterdir()} == {
        *("bin", "dev", "opt", "proc", "sys", "data")
    }
    assert bare.stop() == 0
    assert {each.name for each in bare.folder.iterdir()} == {"state", "log", "bpf"}


def test_tcp_with_certificates(root: Path, tmp_path: Path) -> None:
    """gRPC's own TLS works without the files that a system has for it."""
    authority = tmp_path / "pki"
    ca = pki.init(authority)
    server = pki.issue_server(authority, "server", ["127.0.0.1"])
    client = pki.issue_client(authority, "client", "viewer")
    daemon = bare_support.daemon(root, "--listen", "127.0.0.1:0")
    for option, source in (
        ("--tls-ca", ca.certificate),
        ("--tls-cert", server.certificate),
        ("--tls-key", server.key),
    ):
        shutil.copy(source, daemon.folder)
        daemon.arguments += [option, f"{daemon.own_folder}/{source.name}"]
    daemon.start()
    try:
        credentials = grpc.ssl_channel_credentials(
            *(each.read_bytes() for each in (ca.certificate, client.key, client.certificate))
        )
        address = daemon.ready.split()[-1]
        with grpc.secure_channel(address, credentials) as channel:
            stub = target_pb2_grpc.TargetStub(channel)
            assert stub.GetTarget(target_pb2.GetTargetRequest(), timeout=20).role == "viewer"
    finally:
        daemon.end()


def test_the_debian_package(native: bundle.Bundle, tmp_path: Path) -> None:
    """Its files serve, and systemd understands the service."""
    package, root = tmp_path / "bpfd.deb", tmp_path / "root"
    deb.build(native.path, package)
    subprocess.run(["dpkg-deb", "--extract", package, root], check=True)
    bare_support.make_shell(root, "busybox")
    daemon = bare_support.daemon(root)
    daemon.program = "/usr/bin/bpfd"
    daemon.start()
    try:
        with daemon.channel() as channel:
            stub = target_pb2_grpc.TargetStub(channel)
            info = stub.GetTarget(target_pb2.GetTargetRequest(), timeout=20)
            assert info.daemon_version == __version__
    finally:
        daemon.end()
    if shutil.which("systemd-analyze"):
        # It looks for the program on this machine.
        unit = tmp_path / "bpfd.service"
        text = (root / "usr/lib/systemd/system/bpfd.service").read_text()
        unit.write_text(text.replace("=/usr/bin/bpfd", f"={root}/usr/bin/bpfd"))
        done = subprocess.run(
            ["systemd-analyze", "verify", unit], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
