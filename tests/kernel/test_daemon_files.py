# SPDX-License-Identifier: Apache-2.0
"""What may be read of the target's files, and what by no trick."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from bpfd.kernel import mounts
from bpfd.v1 import files_pb2, files_pb2_grpc

DENIED, WRONG = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT
MISSING = grpc.StatusCode.NOT_FOUND


@pytest.fixture
def files(viewer_channel: grpc.Channel) -> files_pb2_grpc.FilesStub:
    return files_pb2_grpc.FilesStub(viewer_channel)


def read(
    files: files_pb2_grpc.FilesStub, path: str | Path, offset: int = 0, size: int = 0
) -> bytes:
    request = files_pb2.ReadRequest(path=str(path), offset=offset, size=size)
    return b"".join(chunk.data for chunk in files.Read(request, timeout=60))


def refusal(files: files_pb2_grpc.FilesStub, path: str | Path) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        read(files, path)
    return caught.value


def test_reads_of_proc_and_sys(files: files_pb2_grpc.FilesStub) -> None:
    assert read(files, "/proc/version") == Path("/proc/version").read_bytes()
    assert read(files, "/proc/version", 6, 7) == Path("/proc/version").read_bytes()[6:13]
    online = "/sys/devices/system/cpu/online"
    assert read(files, online) == Path(online).read_bytes()
    assert read(files, f"/proc/{os.getpid()}/maps").startswith(b"")
    assert b"/libc" in read(files, f"/proc/{os.getpid()}/maps")


def test_reads_of_tracefs(files: files_pb2_grpc.FilesStub) -> None:
    path = f"{mounts.ensure_tracefs()}/events/sched/sched_switch/format"
    assert b"name: sched_switch" in read(files, path)


def test_reads_of_libraries_in_pieces(files: files_pb2_grpc.FilesStub) -> None:
    path = os.path.realpath(sys.executable)
    libc = next(
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "/libc.so" in line
    )
    whole = Path(libc).read_bytes()
    assert read(files, libc) == whole
    assert read(files, libc, 1000, 5000) == whole[1000:6000]
    assert read(files, libc, len(whole) + 1) == b""
    # Mapped by this process, wherever it stands.
    assert read(files, path) == Path(path).read_bytes()
    assert read(files, f"/proc/{os.getpid()}/exe", 0, 4) == b"\x7fELF"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A program in a folder that is no system folder, running."""
    path = tmp_path / "program"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", path)
    process = subprocess.Popen([path, "600"])
    try:
        yield path, process
    finally:
        process.kill()
        process.wait()


def test_an_elf_file_while_a_process_maps_it(
    files: files_pb2_grpc.FilesStub, program: tuple[Path, subprocess.Popen[bytes]]
) -> None:
    path, process = program
    whole = path.read_bytes()
    assert read(files, path) == whole
    path.unlink()
    assert read(files, f"/proc/{process.pid}/exe") == whole
    path.write_bytes(whole)
    # Another file under the name of the one that is mapped.
    assert refusal(files, path).code() == DENIED


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "/etc/passwd",
        "/root/.ssh/id_rsa",
        "/no/such/file",
        "/processes",
        "/usr/share/common-licenses/GPL-2",
        "/proc/kcore",
        "/proc/kmsg",
        "/proc/keys",
        "/proc/1/environ",
        "/proc/1/mem",
        "/proc/1/auxv",
        "/proc/self/mem",
        "/proc/self/task/{pid}/environ",
        "/proc/thread-self/environ",
        "/proc/1/root/etc/shadow",
        "/proc/1/cwd/etc/shadow",
        "/proc/sys/net/ipv4/tcp_fastopen_key",
        "/sys/kernel/security/lockdown",
        "/sys/fs/bpf/maps.debug",
        "/dev/mem",
    ],
)
def test_denied(files: files_pb2_grpc.FilesStub, path: str) -> None:
    if path.startswith(("/proc/", "/sys/")) and "{" not in path and not os.path.exists(path):
        pytest.skip(f"this kernel has no {path}")
    code = refusal(files, path.format(pid=1)).code()
    assert code == (MISSING if "{" in path else DENIED)


@pytest.mark.parametrize(
    "path",
    [
        "proc/version",
        "",
        "/proc/../etc/shadow",
        "/usr/lib/../../etc/shadow",
        "/proc",
        "/sys/kernel",
    ],
)
def test_wrong_paths(files: files_pb2_grpc.FilesStub, path: str) -> None:
    assert refusal(files, path).code() == WRONG


def test_missing_files(files: files_pb2_grpc.FilesStub) -> None:
    assert refusal(files, "/proc/no/such").code() == MISSING
    assert refusal(files, "/usr/lib/no-such.so").code() == MISSING


def test_trace_pipe_is_refused_with_a_hint(files: files_pb2_grpc.FilesStub) -> None:
    top = mounts.ensure_tracefs()
    for path in (f"{top}/trace_pipe", f"{top}/per_cpu/cpu0/trace_pipe_raw"):
        error = refusal(files, path)
        assert error.code() == WRONG
        assert "Events.TracePipe" in (error.details() or "")


def test_links_and_pipes_of_a_user(files: files_pb2_grpc.FilesStub, tmp_path: Path) -> None:
    (tmp_path / "to-shadow").symlink_to("/etc/shadow")
    (tmp_path / "to-proc").symlink_to("/proc")
    (tmp_path / "plain").write_text("secret")
    (tmp_path / "elf").write_bytes(b"\x7fELF" + bytes(100))
    (tmp_path / "core").write_bytes(b"\x7fELF\2\1\1" + bytes(9) + b"\4\0" + bytes(100))
    os.mkfifo(tmp_path / "fifo")
    for name in ("to-shadow", "plain", "elf", "core", "to-proc/1/environ"):
        assert refusal(files, tmp_path / name).code() == DENIED
    assert refusal(files, tmp_path / "fifo").code() == WRONG
    # By a link to where one may read, one reads.
    assert read(files, tmp_path / "to-proc/version") == Path("/proc/version").read_bytes()


def test_mounts_that_a_user_made_open_no_way(
    files: files_pb2_grpc.FilesStub, tmp_path: Path
) -> None:
    """In a mount namespace of one's own anything can be mounted under any name."""
    (tmp_path / "core").write_bytes(b"\x7fELF\2\1\1" + bytes(9) + b"\3\0" + bytes(100))
    victim = subprocess.Popen(["sleep", "600"], env={"SECRET": "1"})
    script = (
        f"mount -t tmpfs none /usr/local && touch /usr/local/x /usr/local/y && "
        f"mount --bind {tmp_path}/core /usr/local/x && "
        f"mount --bind /proc/{victim.pid}/environ /usr/local/y && echo ready && exec sleep 600"
    )
    attacker = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        stdout=subprocess.PIPE,
    )
    try:
        assert attacker.stdout is not None
        assert attacker.stdout.readline() == b"ready\n"
        root = f"/proc/{attacker.pid}/root"
        assert os.path.exists(f"{root}/usr/local/x")
        for path in ("usr/local/x", "usr/local/y", f"proc/{victim.pid}/environ"):
            assert refusal(files, f"{root}/{path}").code() == DENIED
    finally:
        for process in (attacker, victim):
            process.kill()
            process.wait()
        if attacker.stdout is not None:
            attacker.stdout.close()


def test_bounds(files: files_pb2_grpc.FilesStub) -> None:
    for request in (
        files_pb2.ReadRequest(path="/proc/version", size=(1 << 30) + 1),
        files_pb2.ReadRequest(path="/proc/version", offset=1 << 63),
        files_pb2.ReadRequest(path="/" + "x" * 5000),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            list(files.Read(request))
        assert caught.value.code() == WRONG


def test_stat(files: files_pb2_grpc.FilesStub, tmp_path: Path) -> None:
    path = os.path.realpath("/proc/self/exe")
    found = files.Stat(files_pb2.StatRequest(path=path))
    status = os.stat(path)
    assert found.type == files_pb2.FILE_TYPE_REGULAR
    assert (found.size, found.inode, found.mode) == (
        status.st_size,
        status.st_ino,
        status.st_mode,
    )
    assert found.modified_at.ToNanoseconds() == status.st_mtime_ns
    link = files.Stat(files_pb2.StatRequest(path=f"/proc/{os.getpid()}/exe", no_follow=True))
    assert (link.type, link.link_target) == (files_pb2.FILE_TYPE_SYMLINK, path)
    namespace = files.Stat(files_pb2.StatRequest(path=f"/proc/{os.getpid()}/ns/net"))
    assert namespace.inode == os.stat("/proc/self/ns/net").st_ino
    for hidden in (tmp_path, "/etc/shadow", "/root"):
        with pytest.raises(grpc.RpcError) as caught:
            files.Stat(files_pb2.StatRequest(path=str(hidden)))
        assert caught.value.code() == DENIED


def test_stat_tells_the_build_id(files: files_pb2_grpc.FilesStub) -> None:
    libc = next(
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "/libc.so" in line
    )
    found = files.Stat(files_pb2.StatRequest(path=libc))
    assert found.build_id.hex() == _note(libc)


def _note(path: str) -> str:
    from elftools.elf.elffile import ELFFile

    with open(path, "rb") as file:
        section: Any = ELFFile(file).get_section_by_name(".note.gnu.build-id")
        (note,) = section.iter_notes()
    return str(note["n_desc"])


def test_list(files: files_pb2_grpc.FilesStub, tmp_path: Path) -> None:
    def names(path: str) -> dict[str, files_pb2.FileStat]:
        chunks = files.List(files_pb2.ListFilesRequest(path=path))
        return {file.path: file for chunk in chunks for file in chunk.files}

    own = names(f"/proc/{os.getpid()}")
    assert own[f"/proc/{os.getpid()}/exe"].link_target == os.path.realpath(sys.executable)
    assert own[f"/proc/{os.getpid()}/task"].type == files_pb2.FILE_TYPE_DIRECTORY
    assert set(names("/sys/class/net/")) == {
        f"/sys/class/net/{name}" for name in os.listdir("/sys/class/net")
    }
    assert "/usr/bin/env" in names("/usr/bin")
    for path, code in ((str(tmp_path), DENIED), ("/proc/version", WRONG), ("/", DENIED)):
        with pytest.raises(grpc.RpcError) as caught:
            names(path)
        assert caught.value.code() == code


def test_a_reader_that_goes_away_in_the_middle(files: files_pb2_grpc.FilesStub) -> None:
    for _ in range(5):
        call = files.Read(files_pb2.ReadRequest(path="/proc/kallsyms"))
        assert next(call).data
        call.cancel()
    assert read(files, "/proc/version")


def test_peek_and_poke_are_not_there_yet(files: files_pb2_grpc.FilesStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        files.Poke(files_pb2.PokeRequest())
    assert caught.value.code() == DENIED
