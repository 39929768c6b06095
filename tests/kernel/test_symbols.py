# SPDX-License-Identifier: Apache-2.0
"""Addresses of real processes and of this kernel, by `bpfctl symbols` and the library."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bpfctl.config import LocalTarget
from bpfctl.errors import BpfctlError, PermissionMissing
from bpfctl.symbols import Symbolizer
from bpfctl.target import Target

from tests.kernel import cli_support
from tests.kernel.cli_support import Cli
from tests.kernel.conftest import RunningDaemon

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")

SOURCE = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <sys/auxv.h>
#include <unistd.h>

static inline __attribute__((always_inline)) int leaf(int x)
{
    return x * __builtin_popcount(x + getpid());
}
static __attribute__((noinline)) int work(int x)
{
    return leaf(x + 1) * 3;
}
int main(void)
{
    char *jit = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("%p %p %lx\n", (void *)work, (void *)jit, getauxval(AT_SYSINFO_EHDR));
    fflush(stdout);
    if (getchar() == 'w')
        return work(1);
    return 0;
}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `program`, and below board/ the same stripped."""
    folder = tmp_path_factory.mktemp("symbols")
    (folder / "program.c").write_text(SOURCE)
    command = ["gcc", "-g", "-O1", "-Wl,--build-id=sha1", "-o", "program", "program.c"]
    subprocess.run(command, check=True, cwd=folder)
    (folder / "board").mkdir()
    strip = ["strip", "-o", "board/program", "program"]
    subprocess.run(strip, check=True, cwd=folder)
    return folder


class Running:
    """The program; ends when it is told to."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        self.work, self.jit, self.vdso = (int(word, 16) for word in words)

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self) -> None:
        self.process.communicate("q", timeout=30)


@contextlib.contextmanager
def running(*command: str | Path) -> Iterator[Running]:
    found = Running([str(word) for word in command])
    try:
        yield found
    finally:
        with contextlib.suppress(ValueError):
            found.end()


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    found = cli_support.make(daemon, tmp_path)
    # Nothing is known from tests before.
    monkeypatch.setattr(cli_support, "_made", tmp_path / "cache")
    for name in ("BPFCTL_CACHE_DIR", "BPFCTL_DATA_DIR"):
        monkeypatch.setenv(name, found.environment[name])
    return found


@contextlib.contextmanager
def connected(daemon: RunningDaemon) -> Iterator[Target]:
    with Target.open("local", LocalTarget(str(daemon.socket))) as target:
        yield target


def test_functions_of_this_kernel(cli: Cli) -> None:
    lines = Path("/proc/kallsyms").read_text().splitlines()
    address, name = next(
        (int(each.split()[0], 16), each.split()[2])
        for each in lines
        if each.split()[1] == "T" and each.endswith("ksys_read")
    )
    if not address:
        pytest.skip("the kernel hides its addresses")
    # The second time from what is kept by boot id.
    for _ in range(2):
        first, second = cli.json(
            "symbols", "resolve", "--kernel", f"{address:x}", hex(address + 4)
        )
        assert (first["function"], first["offset"]) == (name, 0)
        assert (second["function"], second["offset"], second["kind"]) == (name, 4, "kernel")
    assert name in cli("symbols", "resolve", "--kernel", hex(address))


@needs_gcc
def test_a_stripped_program_with_lines_of_the_workstation(cli: Cli, built: Path) -> None:
    with running(built / "board" / "program") as program:
        resolve = ("symbols", "resolve", "--pid", str(program.pid), hex(program.work))
        (bare,) = cli.json(*resolve)
        assert (bare["function"], bare["line"]) == ("", 0)
        assert bare["module"] == str(built / "board" / "program")
        cli("symbols", "add", str(built / "program"))
        every = [hex(program.work + at) for at in range(32)]
        found = cli.json(*resolve[:4], *every)
        assert {row["function"] for row in found} >= {"work", "leaf"}
        line = next(n for n, text in enumerate(SOURCE.splitlines(), 1) if "int work" in text)
        assert found[0]["function"] == "work"
        assert found[0]["line"] in (line, line + 1)
        assert found[0]["file"] == str(built / "program.c")
        assert "leaf (inlined)" in cli(*resolve[:4], *every)
        (entry,) = cli.json("symbols", "list")
        assert (entry["level"], entry["there"]) == ("lines", True)
        # By the offset in the file, as maps of BPF_F_STACK_BUILD_ID have it.
        offset = hex(bare["offset"])
        by_id = cli.json("symbols", "resolve", "--build-id", entry["build_id"], offset)
        assert by_id[0]["function"] == "work"
    assert "there is no process" in cli.refused(4, *resolve)
    assert "forgot 1 file" in cli("symbols", "remove", str(built / "program"))
    assert cli.json("symbols", "list") == []
    assert "--pid PID" in cli.refused(2, "symbols", "resolve", "1000")
    assert "hexadecimal" in cli.refused(2, "symbols", "resolve", "--kernel", "xyz")


@needs_gcc
def test_ended_replaced_and_deleted(
    daemon: RunningDaemon, cli: Cli, built: Path, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    shutil.copy(built / "program", program)
    with connected(daemon) as target, running(program) as alive:
        with Symbolizer(target) as early:
            process = early.snapshot([alive.pid])[alive.pid]
            # Another build takes its path, as an upgrade does.
            program.unlink()
            subprocess.run(
                ["gcc", "-O2", "-Wl,--build-id=sha1", "-o", program, built / "program.c"],
                check=True,
            )
            found = early.user(process, [alive.work])[0]
            assert found[-1].name == "work"
            assert found[-1].module == str(program)
        after = Symbolizer(target)
        late = after.snapshot([alive.pid])[alive.pid]
        assert late.find(alive.work) is not None
        alive.end()
        assert after.snapshot([alive.pid]) == {}
        # It was fetched before it ended; without that there is no name, and no wrong one.
        assert after.user(late, [alive.work])[0][-1].name == "work"
        shutil.rmtree(tmp_path / "cache")
        with Symbolizer(target) as forgetful:
            assert forgetful.user(late, [alive.work])[0][-1].name == ""
            assert "it was deleted or replaced on the target" in forgetful.notes[0]


@needs_gcc
def test_files_of_another_mount_namespace(daemon: RunningDaemon, cli: Cli, built: Path) -> None:
    """As a container has them: the path leads to nothing here."""
    inside = "mount -t tmpfs none /mnt && cp $0 /mnt/only-there && exec /mnt/only-there"
    command = ("unshare", "--mount", "sh", "-c", inside, built / "program")
    with running(*command) as program:
        assert not Path("/mnt/only-there").exists()
        rows = cli.json("symbols", "resolve", "--pid", str(program.pid), hex(program.work))
        assert rows[-1]["function"] == "work"
        assert rows[-1]["module"] == "/mnt/only-there"


@needs_gcc
def test_code_of_a_jit_compiler(daemon: RunningDaemon, cli: Cli, built: Path) -> None:
    with running(built / "program") as program:
        perf_map = Path(f"/tmp/perf-{program.pid}.map")
        perf_map.write_text(f"{program.jit:x} 40 LazyCompile:~tick /app/x.js:3\n")
        try:
            with connected(daemon) as target, Symbolizer(target) as symbolizer:
                process = symbolizer.snapshot([program.pid])[program.pid]
                program.end()
                addresses = [program.jit + 8, program.jit + 0x80, program.vdso + 16]
                frames = [each for (each,) in symbolizer.user(process, addresses)]
        finally:
            perf_map.unlink()
    assert (frames[0].name, frames[0].module) == ("LazyCompile:~tick /app/x.js:3", "[jit]")
    assert frames[0].offset == 8
    assert (frames[1].name, frames[1].module) == ("", "[anonymous]")
    assert frames[2].text == "[vdso]+0x10"


@needs_gcc
def test_only_perf_maps_of_the_processs_own_user_are_read(
    daemon: RunningDaemon, built: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("1000 20 secret\n")
    with connected(daemon) as target, running(built / "program") as program:
        path = Path(f"/tmp/perf-{program.pid}.map")
        asked = f"/proc/{program.pid}/root{path}"

        def refused() -> bool:
            try:
                target.files.read(asked)
            except BpfctlError:
                return True
            return False

        try:
            path.write_text("1000 20 function\n")
            assert target.files.read(asked) == b"1000 20 function\n"
            os.chown(path, 65534, 65534)
            assert refused(), "of another user"
            path.write_text("root:x:0:0\n")
            os.chown(path, 0, 0)
            assert refused(), "no perf map"
            path.unlink()
            path.symlink_to(secret)
            assert refused(), "a link"
            path.unlink()
            os.link(secret, path)
            assert refused(), "a file with another name"
        finally:
            path.unlink(missing_ok=True)
        with pytest.raises(PermissionMissing):
            target.files.read(f"/proc/{program.pid}/root{secret}")
