# SPDX-License-Identifier: Apache-2.0
"""Objects that are none, damaged, too large, refused, or named in strange ways."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from bpfd.v1 import objects_pb2
from tests.kernel.api import PINNED, Api, eventually, refused
from tests.kernel.clang import clang, compiled
from tests.kernel.command_line import CommandLine
from tests.kernel.conftest import RunningDaemon

pytestmark = pytest.mark.skipif(not clang(), reason="needs clang")

MEGABYTE = 1 << 20


def write(folder: Path, name: str, data: bytes) -> Path:
    """A file of the test."""
    path = folder / name
    path.write_bytes(data)
    return path


def other_machine() -> bytes:
    """The test object, said to be for another machine."""
    data = bytearray(compiled("objects"))
    struct.pack_into("<H", data, 18, 183)
    return bytes(data)


def other_order() -> bytes:
    """The test object for the other byte order."""
    source = b'__attribute__((section("xdp"))) int f(void *c) { return 2; }'
    target = "bpfeb" if sys.byteorder == "little" else "bpfel"
    command = [clang(), "-O2", "-target", target, "-x", "c", "-c", "-", "-o", "-"]
    return subprocess.run(command, input=source, check=True, capture_output=True).stdout


def test_what_is_no_object(bpfctl: CommandLine) -> None:
    for data, says in (
        (b"int main(void) { return 0; }\n", ["not an ELF file", "bpfctl build"]),
        (os.urandom(4096), ["not an ELF file"]),
        (b"", ["empty", "build it again"]),
        (Path("/bin/true").read_bytes(), ["not for BPF", "clang -target bpf"]),
        (other_machine(), ["not for BPF", "clang -target bpf"]),
        (other_order(), ["byte order"]),
    ):
        path = write(bpfctl.folder, "bad.o", data)
        for command in ("load", "run"):
            bpfctl.run(command, path).refused(2, *says)


def test_truncated_objects(bpfctl: CommandLine, channel: grpc.Channel) -> None:
    """Through the command line at a few lengths, past its checks at many."""
    whole = compiled("objects")
    for length in (20, 64, len(whole) // 2, len(whole) - 1):
        path = write(bpfctl.folder, "bad.o", whole[:length])
        bpfctl.run("load", path).refused(2, "truncated", str(length), "again")
    api = Api(channel)
    for length in (*range(0, len(whole), 97), len(whole) - 1):
        with refused("invalid_argument"):
            api.load("bad", whole[:length], PINNED)


def complaint(api: Api, elf: bytes) -> Any:
    """The error that an object meets; None: it loads."""
    try:
        api.load("damaged", elf, PINNED)
    except grpc.RpcError as error:
        return error
    api.unload("damaged")
    return None


def test_damaged_objects(channel: grpc.Channel, bpfctl: CommandLine) -> None:
    """Bytes of an object are changed: it loads, or is refused with a reason."""
    api, whole = Api(channel), compiled("objects")
    chance = random.Random(7)
    refusals = []
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 1, 4])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if (error := complaint(api, bytes(data))) is not None:
            refusals.append(error)
    assert len(refusals) > 10
    for error in refusals:
        assert "internal error" not in error.details()
        assert error.code() in (
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.UNIMPLEMENTED,
            grpc.StatusCode.INTERNAL,
        )


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """An object of 200 MB, almost all of it a hole."""
    path = write(tmp_path, "huge.o", compiled("objects"))
    os.truncate(path, 200 * MEGABYTE)
    return path


def test_the_client_says_the_limit_without_reading(bpfctl: CommandLine, sparse: Path) -> None:
    bpfctl.environment["PYTHONUNBUFFERED"] = "1"
    script = (
        "import resource, subprocess, sys\n"
        "code = subprocess.run(sys.argv[1:]).returncode\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "sys.exit(code)"
    )
    for command in ("load", "run"):
        done = bpfctl.run(command, sparse, prefix=(sys.executable, "-c", script))
        done.refused(2, "200.0 MiB", "64.0 MiB", "strip")
        assert int(done.out) < 150 * 1024, "all of the file was read"


def resident(pid: int) -> int:
    """Bytes of memory that a process has for itself."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def test_a_client_that_checks_nothing_is_told_the_limit(
    bpfctl: CommandLine, daemon: RunningDaemon, sparse: Path
) -> None:
    """Neither the message's bound nor the object's makes the daemon keep the memory."""
    before = resident(daemon.pid)
    options = [("grpc.max_send_message_length", -1), ("grpc.max_metadata_size", 65536)]
    for _ in range(3):
        with grpc.insecure_channel(f"unix:{daemon.socket}", options) as channel:
            api = Api(channel)
            with pytest.raises(grpc.RpcError) as raised:
                api.load("huge", sparse.read_bytes(), PINNED)
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "larger" in (raised.value.details() or "")
            with refused("invalid_argument") as why:
                api.load("huge", sparse.read_bytes()[: 70 * MEGABYTE], PINNED)
            assert str(64 * MEGABYTE) in why.text
            assert api.object_names() == []
    assert eventually(lambda: resident(daemon.pid) < before + 20 * MEGABYTE), (
        f"{before >> 20} MiB became {resident(daemon.pid) >> 20} MiB"
    )


@pytest.mark.parametrize("command", [["load"], ["load", "--verify-only"], ["run", "-i", "lo"]])
def test_a_refusal_of_the_verifier_looks_like_a_compiler_error(
    bpfctl: CommandLine, command: list[str]
) -> None:
    source = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int first_byte(struct xdp_md *ctx)
{
	char *data = (char *)(long)ctx->data;

	return data[100];
}

char LICENSE[] SEC("license") = "GPL";
"""
    (bpfctl.folder / "bad.bpf.c").write_text(source)
    done = bpfctl.run(*command, "bad.bpf.c")
    done.refused(3, "first_byte", "--verbose", context=True)
    first, code, *_ = done.err.splitlines()
    assert first.startswith("bad.bpf.c:9:"), done.err
    assert "error: the verifier refused first_byte: invalid access to packet" in first
    assert "9 |" in code
    assert "return data[100];" in code
    assert "data_end" in done.err
    assert "processed" not in done.err
    wordy = bpfctl.run(*command, "bad.bpf.c", "--verbose")
    wordy.refused(3, context=True)
    assert "processed 2 insns" in wordy.err


def test_a_compiler_error_is_shown_as_it_is(bpfctl: CommandLine) -> None:
    (bpfctl.folder / "bad.bpf.c").write_text("int f(void) { return nothing; }\n")
    for command in ("build", "load", "run"):
        done = bpfctl.run(command, "bad.bpf.c")
        assert done.code == 1
        assert "bad.bpf.c:1:22: error: use of undeclared identifier 'nothing'" in done.err
        assert "Traceback" not in done.err


def test_a_section_that_nobody_knows(bpfctl: CommandLine) -> None:
    path = write(bpfctl.folder, "bad.o", compiled("objects", "UNKNOWN_SECTION"))
    for command in (["load"], ["run", "-i", "lo"]):
        done = bpfctl.run(*command, path)
        done.refused(2, "unknown", "nobody_knows_this", 'SEC("xdp")')


def test_a_file_that_is_not_there(bpfctl: CommandLine) -> None:
    bpfctl.run("load", "nowhere.o").refused(4, "nowhere.o")
    bpfctl.run("run", "nowhere.bpf.c").refused(4, "nowhere.bpf.c")
    bpfctl.run("load", "nopackage").refused(4, "nopackage")
    bpfctl.run("load", "ddoss").refused(4, "did you mean ddos")
    bpfctl.run("load", bpfctl.folder).refused(2, "package.toml")
    for command in (["unload", "nobody"], ["detach", "nobody"], ["object", "show", "nobody"]):
        bpfctl.run(*command).refused(4, "nobody", "list")


def test_hostile_names_of_objects(bpfctl: CommandLine, channel: grpc.Channel) -> None:
    path = write(bpfctl.folder, "good.o", compiled("objects"))
    for name in (
        "../up",
        "/etc/passwd",
        "a/b",
        "new\nline",
        "x" * 65,
        "..",
        "\x1b[31mred",
        " ",
    ):
        done = bpfctl.run("load", "--name", name, path)
        done.refused(2, "name")
        assert "\x1b" not in done.err
    strange = write(bpfctl.folder, "..\x1b[31m;$(reboot) ü.o", compiled("objects"))
    said = bpfctl.run("load", strange).ok()
    assert "\x1b" not in said
    (name,) = Api(channel).object_names()
    assert name.isascii()
    bpfctl.run("unload", name).ok()


def renamed(old: bytes, new: bytes) -> bytes:
    """The test object with a name in it exchanged, in its symbols and its BTF."""
    assert len(old) == len(new)
    assert compiled("objects").count(old) >= 2
    return compiled("objects").replace(old, new)


def test_hostile_names_of_maps(bpfctl: CommandLine) -> None:
    """The name of a map becomes the name of a pin: it must lead nowhere else."""
    for new in (b"obj/../.", b"obj\x1b[31m", b"obj\n run", b"........", b"..\0_____"):
        path = write(bpfctl.folder, "hostile.o", renamed(b"obj_runs", new))
        done = bpfctl.run("load", path)
        assert "Traceback" not in done.err
        assert "\x1b" not in done.err + done.out
        if done.code == 0:
            shown = bpfctl.run("map", "list")
            assert "\x1b" not in shown.ok()
            bpfctl.run("unload", "hostile").ok()
        else:
            done.refused(2)


def test_hostile_names_of_programs(bpfctl: CommandLine) -> None:
    for new in (b"count_\x1b[31mts", b"../../../evil", b"count\n\n\n\n\n\n\nx"):
        path = write(bpfctl.folder, "hostile.o", renamed(b"count_packets", new))
        done = bpfctl.run("load", path)
        assert "Traceback" not in done.err
        assert "\x1b" not in done.err + done.out
        if done.code == 0:
            bpfctl.run("unload", "hostile").ok()
        else:
            done.refused(2, "program", "rename it")


def test_settings_that_do_not_fit(bpfctl: CommandLine) -> None:
    path = write(bpfctl.folder, "good.o", compiled("objects"))
    for arguments, says in (
        (["--set", "nothing=1"], "nothing"),
        (["--set", "verdict=red"], "verdict"),
        (["--set", "verdict=4294967296"], "verdict"),
        (["--set", "verdict"], "NAME=VALUE"),
        (["--map-size", "nothing=4"], "nothing"),
        (["--map-size", "obj_runs=0"], "obj_runs"),
        (["--map-size", "obj_runs=-1"], "obj_runs"),
        (["--map-size", "obj_runs=many"], "many"),
        (["--map-size", "obj_runs=4294967296"], "obj_runs"),
        (["--reuse", "obj_runs=nobody/nothing"], "nobody"),
        (["--reuse", "obj_runs=what"], "what"),
        (["--no-program", "nothing"], "nothing"),
        (["--program", "nothing"], "nothing"),
    ):
        done = bpfctl.run("load", path, *arguments)
        done.refused(4 if says == "nobody" else 2, says, context="Usage" in done.err)


def test_a_map_that_is_too_large_for_the_kernel(bpfctl: CommandLine) -> None:
    path = write(bpfctl.folder, "good.o", compiled("objects"))
    done = bpfctl.run("load", path, "--map-size", "obj_runs=4294967295")
    assert done.code in (1, 2, 8)
    done.refused(done.code, "obj_runs")


def test_what_bytes_a_request_without_source_has(channel: grpc.Channel) -> None:
    api = Api(channel)
    with refused("invalid_argument") as why:
        api.objects.Load(objects_pb2.LoadRequest(name="one", lifetime=PINNED))
    assert "source" in why.text
