# SPDX-License-Identifier: Apache-2.0
"""Kernel addresses as functions; as lines where there is a vmlinux."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bpfctl.symbols import Symbolizer, kernel
from bpfctl.symbols.kallsyms import Kallsyms
from bpfctl.symbols.store import Store
from bpfctl.target import Target

from .built import address, build, line_of, needs_clang
from .target_double import FilesDouble, facts

KERNEL = b"""\
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81000100 t helper
ffffffff81000200 D data
"""
MODULES = b"ffffffffc0000000 t of_module\t[nf_tables]\nffffffffc0010000 t bpf_prog_1_x\t[bpf]\n"


class TargetDouble:
    """A target whose kernel has the symbols above."""

    def __init__(self, kernel: bytes = KERNEL, modules: bytes = MODULES, **files: Any) -> None:
        self.kernel, self.modules = kernel, modules
        self.asked: list[bool] = []
        self.files = FilesDouble(**files)
        self.build_id = b""
        self.boot = "boot"
        self.target = SimpleNamespace(GetKallsyms=None, ListProcesses=None)

    @property
    def rpc(self) -> TargetDouble:
        return self

    def info(self) -> Any:
        return SimpleNamespace(
            boot_id=self.boot, kernel_build_id=self.build_id, big_endian=False, pointer_bits=64
        )

    def stream(self, _: Any, request: Any, __: str) -> TargetDouble:
        self.asked.append(request.only_modules)
        return self

    def __enter__(self) -> list[SimpleNamespace]:
        text = self.modules if self.asked[-1] else self.kernel + self.modules
        return [SimpleNamespace(data=text)]

    def __exit__(self, *_: object) -> None:
        return


def target(double: TargetDouble) -> Target:
    return cast("Target", double)


def test_functions_of_kernel_modules_and_programs() -> None:
    found = Kallsyms((KERNEL, MODULES))
    assert found.first == 0xFFFFFFFF81000000
    for where, name, module in (
        (0xFFFFFFFF81000010, "_stext", "[kernel]"),
        (0xFFFFFFFF81000112, "helper", "[kernel]"),
        (0xFFFFFFFFC0000004, "of_module", "[nf_tables]"),
        (0xFFFFFFFFC0010000, "bpf_prog_1_x", "[bpf]"),
    ):
        symbol = found.find(where)
        assert symbol is not None
        assert (symbol.name, symbol.module) == (name, module)
    assert found.find(0xFFFFFFFF81000200) is None, "data has no function"
    assert found.find(0xFFFFFFFFC0010000 + (4 << 20)) is None
    assert found.find(5) is None
    assert Kallsyms((b"nonsense\n\n0 t x\n",)).first == 1 << 64


def test_the_kernels_own_are_kept_by_boot_and_modules_are_not() -> None:
    double = TargetDouble()
    assert kernel.fetch(target(double)).find(0xFFFFFFFFC0000004) is not None
    double.modules = b"ffffffffc0000000 t younger\t[other]\n"
    found = kernel.fetch(target(double))
    assert double.asked == [False, True]
    symbol = found.find(0xFFFFFFFFC0000004)
    assert symbol is not None
    assert (symbol.name, symbol.module) == ("younger", "[other]")
    assert found.find(0xFFFFFFFF81000112) is not None
    double.boot = "another"
    kernel.fetch(target(double))
    assert double.asked[-1] is False


def test_hidden_addresses_are_explained() -> None:
    hidden = b"0000000000000000 T _stext\n"
    for value, words in ((b"2\n", "sysctl kernel.kptr_restrict=1"), (b"1\n", "CAP_SYSLOG")):
        texts = {"/proc/sys/kernel/kptr_restrict": value}
        double = TargetDouble(hidden, b"", texts=texts)
        with Symbolizer(target(double)) as symbolizer:
            ((frame,),) = symbolizer.kernel([0xFFFFFFFF81000112])
            assert (frame.name, frame.text) == ("", "0xffffffff81000112")
            assert words in symbolizer.notes[0]
    assert "CONFIG_KALLSYMS" in kernel.hidden_why(target(TargetDouble()), Kallsyms(()))


def test_a_return_address_is_of_the_call_before_it() -> None:
    with Symbolizer(target(TargetDouble())) as symbolizer:
        ((at,), (before,)) = [
            *symbolizer.kernel([0xFFFFFFFF81000100]),
            *symbolizer.kernel([0xFFFFFFFF81000100], returns=True),
        ]
        assert (at.name, at.offset) == ("helper", 0)
        assert (before.name, before.address) == ("_stext", 0xFFFFFFFF81000100)
        stack = symbolizer.kernel_stack([0xFFFFFFFF81000100, 0xFFFFFFFF81000100])
        assert [frame.name for frame in stack] == ["helper", "_stext"]


VMLINUX = """\
__asm__(".globl _stext\\n_stext:\\n.fill 64, 1, 0x90");
static inline __attribute__((always_inline)) int within(int x) { return x * x + sink2(x); }
int sink2(int x) { return x; }
__attribute__((noinline)) int helper(int x)
{
    return within(x) + 1;
}
"""


@needs_clang
def test_lines_of_a_kernel_that_lies_elsewhere(tmp_path: Path) -> None:
    source = "int sink2(int);\n" + VMLINUX
    vmlinux = build(
        tmp_path / "vmlinux",
        *("-fno-pic", "-mcmodel=kernel", "-static", "-Wl,--image-base=0xffffffff81000000"),
        *("-Wl,-e,helper", "-no-pie", "-Wno-unused-command-line-argument"),
        source=source,
    )
    linked = address(vmlinux, "_stext")
    slide = 0x1DE00000
    text = f"{linked + slide:x} T _stext\n{address(vmlinux, 'helper') + slide:x} T helper\n"
    double = TargetDouble(text.encode())
    double.build_id = bytes.fromhex(facts(vmlinux).build_id)
    Store(system=None).add(tmp_path)
    with Symbolizer(target(double)) as symbolizer:
        begin = address(vmlinux, "helper") + slide
        found = symbolizer.kernel(list(range(begin, begin + 24)))
        names = {tuple(frame.name for frame in frames) for frames in found}
        assert ("within", "helper") in names
        outer = found[0][-1]
        assert (outer.module, outer.kind) == ("[kernel]", "kernel")
        assert outer.file.endswith("vmlinux.c")
        assert outer.line == line_of("int helper(int x)", source) or len(found[0]) > 1
        assert symbolizer.notes == []
