# SPDX-License-Identifier: Apache-2.0
"""Objects that need many things, compiled without a kernel's headers."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest
from bpfctl.elf import ObjectFile

from tests.clang import CLANG

needs_clang = pytest.mark.skipif(not CLANG, reason="needs clang")

HEAD = """
typedef unsigned int __u32;
typedef unsigned long long __u64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __type(name, type) typeof(type) *name
#define RELOCATED __attribute__((preserve_access_index))
#define __ksym __attribute__((section(".ksyms")))
#define __weak __attribute__((weak))
#define exists(field) __builtin_preserve_field_info(field, 2)
char LICENSE[] SEC("license") = "GPL";
static __u64 (*get_task)(void) = (void *)35;
static long (*read_kernel)(void *, __u32, const void *) = (void *)113;
static void *(*reserve)(void *, __u64, __u64) = (void *)131;
static void (*discard)(void *, __u64) = (void *)133;
"""


@functools.cache
def compiled(body: str, cpu: str = "v3") -> ObjectFile:
    """`HEAD` and a body as an object of this machine's byte order."""
    order = "bpfel" if sys.byteorder == "little" else "bpfeb"
    command = [CLANG, "-target", order, "-g", "-O2", f"-mcpu={cpu}", "-x", "c", "-c"]
    done = subprocess.run(
        [*command, "-", "-o", "-"], input=(HEAD + body).encode(), capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    return ObjectFile.parse(done.stdout)
