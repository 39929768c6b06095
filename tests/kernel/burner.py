# SPDX-License-Identifier: Apache-2.0
"""A program that burns CPU time, or waits, in known functions; for any machine.

It needs no C library, so that it can be compiled for machines whose library is not here.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
from pathlib import Path

from tests.clang import CLANG

SHARES = {"half": 50.0, "third": 30.0, "fifth": 20.0}
"""Percent of the CPU time, by function."""

NAPS = {"long_nap": 60_000_000, "short_nap": 30_000_000}
"""Nanoseconds of one wait, by function."""

ROUNDS = 20
"""Waits in each function, after which the program ends."""

DEPTH = 200
"""How often `deep` calls itself."""

SOURCE = r"""
#if defined(__x86_64__)
enum { NANOSLEEP = 35, CLOCK_GETTIME = 228, EXIT = 60 };
static long call(long number, long one, long two)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(one), "S"(two)
             : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
enum { NANOSLEEP = 101, CLOCK_GETTIME = 113, EXIT = 93 };
static long call(long number, long one, long two)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = one;
    register long x1 __asm__("x1") = two;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1) : "memory");
    return x0;
}
#endif

struct time { long seconds, ns; };
static volatile unsigned long sink;

static unsigned long cpu_time(void)
{
    struct time time;
    call(CLOCK_GETTIME, 2 /* CLOCK_PROCESS_CPUTIME_ID */, (long)&time);
    return time.seconds * 1000000000UL + time.ns;
}

#define BURNS(NAME) \
    __attribute__((noinline)) void NAME(unsigned long ns) \
    { \
        unsigned long until = cpu_time() + ns; \
        while (cpu_time() < until) \
            for (int i = 0; i < 20000; i++) \
                sink += i; \
    }
BURNS(half)
BURNS(third)
BURNS(fifth)

__attribute__((noinline)) void deep(int left)
{
    if (left)
        deep(left - 1);
    else
        for (;;)
            sink++;
    sink++;
}

#define NAPS(NAME, NS) \
    __attribute__((noinline)) void NAME(void) \
    { \
        struct time time = { 0, NS }; \
        call(NANOSLEEP, (long)&time, 0); \
        sink++; \
    }
NAPS(long_nap, 60000000)
NAPS(short_nap, 30000000)

__attribute__((noinline)) int work(char kind)
{
    if (kind == 'd')
        deep(200);
    for (int i = 0; kind == 'n' && i < 20; i++) {
        long_nap();
        short_nap();
    }
    /* Steps that are no multiple of the time between samples. */
    for (; kind == 'b';) {
        half(5 * 1717171);
        third(3 * 1717171);
        fifth(2 * 1717171);
    }
    return 0;
}

__attribute__((noinline, used)) void start(long *stack)
{
    char **arguments = (char **)(stack + 1);
    work(*stack > 1 ? arguments[1][0] : 'b');
    call(EXIT, 0, 0);
    __builtin_unreachable();
}

#if defined(__x86_64__)
__asm__(".globl _start\n.type _start, @function\n_start: .cfi_startproc\n"
    " .cfi_undefined rip\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n"
    " .cfi_endproc\n.size _start, . - _start\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n.type _start, @function\n_start: .cfi_startproc\n"
    " .cfi_undefined x30\n mov x29, xzr\n mov x30, xzr\n mov x0, sp\n bl start\n"
    " .cfi_endproc\n.size _start, . - _start\n");
#endif
"""


def compile_to(
    folder: Path, name: str, machine: str = "", *, frame_pointers: bool = True
) -> tuple[Path, Path]:
    """The program with symbols and lines, and a stripped copy; both are called `name`."""
    whole, bare = folder / "unstripped" / name, folder / "stripped" / name
    for path in (whole, bare):
        path.parent.mkdir(parents=True, exist_ok=True)
    triple = f"{machine or platform.machine()}-linux-gnu"
    # Not by content: both have to have the same.
    build_id = hashlib.sha1(f"{SOURCE}{triple}{frame_pointers}".encode()).hexdigest()
    command = [CLANG, f"--target={triple}", "-xc", "-", f"-Wl,--build-id=0x{build_id}"]
    command += ["-O1", "-g", "-ffreestanding", "-nostdlib", "-fasynchronous-unwind-tables"]
    command += ["-fno-stack-protector", "-static", "-fuse-ld=lld"]
    command += ["-fno-optimize-sibling-calls"]
    if frame_pointers:
        command += ["-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer"]
    else:
        command += ["-fomit-frame-pointer"]
    for path, more in ((whole, []), (bare, ["-Wl,--strip-all"])):
        subprocess.run([*command, *more, "-o", str(path)], input=SOURCE, text=True, check=True)
    return whole, bare
