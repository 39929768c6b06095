# SPDX-License-Identifier: Apache-2.0
"""Memory barriers for what is shared with the kernel through mapped pages.

x86 and s390x keep loads in order with loads, stores with stores, and no store overtakes an
earlier load, so acquire and release need no instruction there; that the compiler keeps the
order is certain, because each access is made by a call of its own into the interpreter.
Elsewhere a real fence is needed: `atomic_thread_fence` of libatomic (GCC's library for C11
atomics; a function, not only a macro). Where libatomic is missing, membarrier(2) with
MEMBARRIER_CMD_GLOBAL_EXPEDITED (kernel 4.16, commit c5f58bd58f43) is one: unless only one
CPU is online, it runs smp_mb() on the calling CPU when it starts and before it returns
(kernel/sched/membarrier.c). MEMBARRIER_CMD_PRIVATE_EXPEDITED would not do: it returns at
once in a process of one thread, and no system call is a barrier by itself. Nor would a
mutex: accesses from before and from behind it may meet inside.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import time
from collections.abc import Callable

from bpfd.errors import NotSupported

_ACQUIRE, _RELEASE = 2, 3  # memory_order of <stdatomic.h>
_STRONG = ("x86_64", "AMD64", "i386", "i486", "i586", "i686", "s390x", "s390")
_MEMBARRIER_NUMBERS = {  # asm/unistd.h
    "aarch64": 283,
    "riscv64": 283,
    "loongarch64": 283,
    "armv": 389,
    "ppc64": 365,
    "x86_64": 324,
    "i686": 375,
}
_GLOBAL, _GLOBAL_EXPEDITED = 1, 2  # enum membarrier_cmd
_GRACE_SECONDS = 0.1

Fence = Callable[[], object]


def _nothing() -> None:
    """The hardware keeps the order."""


def _libatomic() -> Callable[[int], object] | None:
    for name in ("libatomic.so.1", "libatomic.so"):
        try:
            fence = ctypes.CDLL(name).atomic_thread_fence
        except (OSError, AttributeError):
            continue
        fence.argtypes, fence.restype = [ctypes.c_int], None
        found: Callable[[int], object] = fence
        return found
    return None


def _membarrier(machine: str, command: int = _GLOBAL_EXPEDITED) -> Fence | None:
    if machine == "aarch64" and ctypes.sizeof(ctypes.c_void_p) == 4:
        machine = "armv8l"
    for prefix, number in _MEMBARRIER_NUMBERS.items():
        if not machine.startswith(prefix):
            continue
        call = ctypes.CDLL(None, use_errno=True).syscall
        call.restype = ctypes.c_long
        arguments = (ctypes.c_long(number), ctypes.c_int(command), ctypes.c_uint(0))
        if call(*arguments) == 0:
            return functools.partial(call, *arguments)
    return None


@functools.cache
def fences(machine: str = platform.machine()) -> tuple[Fence, Fence]:
    """The acquire and the release fence of a machine.

    Loads before `acquire()` come before all accesses behind it; stores behind `release()`
    come after all accesses before it. Raises NotSupported where there is neither a strong
    memory order nor a fence to call.
    """
    if machine in _STRONG:
        return _nothing, _nothing
    if (fence := _libatomic()) is not None:
        return functools.partial(fence, _ACQUIRE), functools.partial(fence, _RELEASE)
    if (barrier := _membarrier(machine)) is not None:
        return barrier, barrier
    raise NotSupported(
        "reading rings in mapped memory",
        needs=f"libatomic.so.1 on the target: {machine} reorders memory accesses",
    )


def wait_for_packets() -> None:
    """Returns when no CPU is in a program any more that was exchanged before the call.

    MEMBARRIER_CMD_GLOBAL waits for an RCU grace period (synchronize_rcu), inside which every
    program for packets runs. Kernels that refuse it (nohz_full CPUs) get a tenth of a second,
    some thousand times what a program may take.
    """
    if _membarrier(platform.machine(), _GLOBAL) is None:
        time.sleep(_GRACE_SECONDS)
