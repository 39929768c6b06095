# SPDX-License-Identifier: Apache-2.0
"""uprobe and uretprobe: functions of a library made here, by name, offset and process."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfd import attach, errors
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import OVERLAP
from bpfd.kernel import binaries, perf_event, syscall
from bpfd.kernel.symbols import ElfFile
from bpfd.v1 import attach_pb2
from tests.kernel.clang import objects_folder
from tests.kernel.hooks_support import Programs, needs_root, programs

pytestmark = needs_root

SOURCE = """
extern int puts(const char *);
int hk_add(int a, int b) { return a + b; }
int hk_print(void) { return puts("x"); }
static int one(void) { return 1; }
static void *choose(void) { return one; }
int hk_chosen(void) __attribute__((ifunc("choose")));
"""


@pytest.fixture
def loaded() -> Iterator[Programs]:
    if "uprobe" not in perf_event.sources():
        pytest.skip("this kernel has no uprobes")
    with programs() as found:
        yield found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    if (objects := objects_folder()) is not None:
        return str(objects / "libhk.so.1")
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang", "clang-16"))), None)
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("hk")
    (folder / "hk.c").write_text(SOURCE)
    target = folder / "libhk.so.1"
    command = [compiler, "-shared", "-fPIC", "-O0", "-o", str(target), str(folder / "hk.c")]
    subprocess.run(command, check=True)
    return str(target)


@pytest.fixture
def library(path: str) -> ctypes.CDLL:
    return ctypes.CDLL(path)


def point(path: str, function: str = "hk_add", **fields: object) -> attach_pb2.AttachPoint:
    request = attach_pb2.Uprobe(binary=path, function=function)
    request.MergeFrom(attach_pb2.Uprobe(**fields))  # type: ignore[arg-type]
    return attach_pb2.AttachPoint(uprobe=request)


def needs_c_library() -> None:
    """A board may have static programs alone."""
    if not binaries.find("libc.so.6"):
        pytest.skip("no shared C library is where the loader looks")


def test_a_call_is_counted_with_its_cookie(
    loaded: Programs, path: str, library: ctypes.CDLL
) -> None:
    attachment = attach.attach(loaded["probe_entry"], point(path, cookie=77))
    assert library.hk_add(2, 3) == 5
    assert (loaded.hits("uprobe"), loaded.hits("cookie")) == (1, 77)
    attachment.close()
    library.hk_add(2, 3)
    assert loaded.hits("uprobe") == 1


def test_a_return_is_counted(loaded: Programs, path: str, library: ctypes.CDLL) -> None:
    attachment = attach.attach(loaded["probe_return"], point(path, ret=True))
    assert library.hk_add(2, 3) == 5
    assert loaded.hits("uretprobe") == 1
    attachment.close()
    library.hk_add(2, 3)
    assert loaded.hits("uretprobe") == 1


def test_by_file_offset(loaded: Programs, path: str, library: ctypes.CDLL) -> None:
    with ElfFile(path) as file:
        offset = file.functions("hk_add")[0].file_offset
    request = point(path)
    request.uprobe.file_offset = offset
    attachment = attach.attach(loaded["probe_entry"], request)
    library.hk_add(1, 1)
    assert loaded.hits("uprobe") == 1
    attachment.close()


def test_only_one_process(loaded: Programs, path: str, library: ctypes.CDLL) -> None:
    code = f"import ctypes\nf = ctypes.CDLL({path!r}).hk_add\nprint(1, flush=True)\n"
    code += "while input():\n    f(1, 1)\n    print(2, flush=True)"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        loaded.count_only(0)
        attachment = attach.attach(loaded["probe_entry"], point("libhk.so.1", pid=child.pid))
        library.hk_add(1, 1)
        assert loaded.hits("uprobe") == 0
        child.stdin.write("go\n")
        child.stdin.flush()
        child.stdout.readline()
        assert loaded.hits("uprobe") == 1
        attachment.close()
        child.communicate("\n")


def test_a_process_with_a_file_system_of_its_own(
    loaded: Programs, path: str, tmp_path: Path
) -> None:
    code = f"""
import ctypes, os, shutil, subprocess
subprocess.run(["mount", "-t", "tmpfs", "none", {str(tmp_path)!r}], check=True)
os.mkdir({str(tmp_path / "sub")!r})
shutil.copy({path!r}, {str(tmp_path / "sub/libinner.so")!r})
os.symlink({str(tmp_path / "sub/libinner.so")!r}, {str(tmp_path / "libinner.so")!r})
f = ctypes.CDLL({str(tmp_path / "libinner.so")!r}).hk_add
print(1, flush=True)
while input():
    f(1, 1)
    print(2, flush=True)
"""
    child = subprocess.Popen(
        ["unshare", "--mount", sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        loaded.count_only(0)
        assert list(tmp_path.iterdir()) == []
        attachment = attach.attach(
            loaded["probe_entry"], point(str(tmp_path / "libinner.so"), pid=child.pid)
        )
        child.stdin.write("go\n")
        child.stdin.flush()
        child.stdout.readline()
        assert loaded.hits("uprobe") == 1
        attachment.close()
        child.communicate("\n")


def test_a_bare_name_is_the_c_library(loaded: Programs) -> None:
    needs_c_library()
    attachment = attach.attach(
        loaded["probe_entry"], point("libc.so.6", "sched_get_priority_max")
    )
    libc = ctypes.CDLL("libc.so.6")
    libc.sched_get_priority_max(0)
    assert loaded.hits("uprobe") == 1
    attachment.close()


def test_update_overlaps(loaded: Programs, path: str, library: ctypes.CDLL) -> None:
    attachment = attach.attach(loaded["probe_entry"], point(path))
    library.hk_add(1, 1)
    assert attachment.update(loaded["probe_return"]) == OVERLAP
    library.hk_add(1, 1)
    assert (loaded.hits("uprobe"), loaded.hits("uretprobe")) == (1, 1)
    attachment.close()


def test_missing_function(loaded: Programs, path: str) -> None:
    with pytest.raises(errors.NotFound) as caught:
        attach.attach(loaded["probe_entry"], point(path, "hk_ad"))
    assert (caught.value.kind, caught.value.near[0]) == ("function", "hk_add")
    with pytest.raises(errors.NotFound, match="only imports it"):
        attach.attach(loaded["probe_entry"], point(path, "puts"))
    with pytest.raises(errors.InvalidArgument, match="IFUNC"):
        attach.attach(loaded["probe_entry"], point(path, "hk_chosen"))


def test_missing_binary(loaded: Programs, path: str) -> None:
    with pytest.raises(errors.NotFound) as caught:
        attach.attach(loaded["probe_entry"], point(path.replace("libhk", "libhq")))
    assert caught.value.near[0] == path
    with pytest.raises(errors.NotFound, match="process"):
        attach.attach(loaded["probe_entry"], point(path, pid=1 << 30))
    with pytest.raises(errors.InvalidArgument, match="absolute path"):
        attach.attach(loaded["probe_entry"], point("lib/x.so"))


def test_missing_library(loaded: Programs) -> None:
    needs_c_library()
    with pytest.raises(errors.NotFound) as caught:
        attach.attach(loaded["probe_entry"], point("libc.so.7"))
    assert "libc.so.6" in caught.value.near


def test_not_an_elf(loaded: Programs, path: str, tmp_path: Path) -> None:
    other = tmp_path / "text"
    other.write_text("no ELF file" * 20)
    with pytest.raises(errors.InvalidArgument, match="is not an ELF file"):
        attach.attach(loaded["probe_entry"], point(str(other)))
    cut = tmp_path / "cut.so"
    cut.write_bytes(Path(path).read_bytes()[:2000])
    with pytest.raises(errors.InvalidArgument, match="is truncated"):
        attach.attach(loaded["probe_entry"], point(str(cut)))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for wrong in (str(pipe), str(tmp_path), "/dev/null"):
        with pytest.raises(errors.InvalidArgument, match=r"uprobe\.binary"):
            attach.attach(loaded["probe_entry"], point(wrong))


def test_offsets_outside(loaded: Programs, path: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="has only"):
        attach.attach(loaded["probe_entry"], point(path, offset=4000))
    with pytest.raises(errors.InvalidArgument, match="function's start"):
        attach.attach(loaded["probe_return"], point(path, offset=4, ret=True))
    request = point(path)
    request.uprobe.file_offset = 1 << 40
    with pytest.raises(errors.InvalidArgument, match="no code at"):
        attach.attach(loaded["probe_entry"], request)
    with pytest.raises(errors.InvalidArgument, match="function or file_offset"):
        attach.attach(
            loaded["probe_entry"],
            attach_pb2.AttachPoint(uprobe=attach_pb2.Uprobe(binary=path)),
        )
    with pytest.raises(errors.InvalidArgument, match="uprobe takes kprobe"):
        attach.attach(loaded["xdp_drop"], point(path))


def test_a_pinned_link_is_adopted(loaded: Programs, path: str, library: ctypes.CDLL) -> None:
    first = attach.attach(loaded["probe_return"], point(path, ret=True, cookie=5))
    pin = f"/sys/fs/bpf/hk-{os.getpid()}"
    syscall.obj_pin(first.fds[0], pin)
    try:
        first.release()
        adopted = adopt([syscall.obj_get(pin)])
    finally:
        os.unlink(pin)
    found = find_point(adopted.fds).uprobe
    if not found.binary:
        adopted.close()
        pytest.skip("this kernel does not tell where a perf link is")
    with ElfFile(path) as file:
        offset = file.functions("hk_add")[0].file_offset
    assert (found.binary, found.file_offset, found.ret) == (path, offset, True)
    library.hk_add(1, 1)
    assert loaded.hits("uretprobe") == 1
    assert adopted.update(loaded["probe_entry"]) == OVERLAP
    assert loaded.links_become(1)
    library.hk_add(1, 1)
    assert (loaded.hits("uprobe"), loaded.hits("uretprobe")) == (1, 1)
    adopted.close()
