# SPDX-License-Identifier: Apache-2.0
"""Takes events with bcc's ring buffer and a Python callback: `bcc_consumer.py MAP_ID`.

Runs with the system's Python, to which Debian's python3-bpfcc belongs. The callback does
what bcc's own table.event() does: a ctypes cast to the record's structure.
"""

import ctypes
import json
import signal
import sys
import time

from bcc.libbcc import _RINGBUF_CB_TYPE, lib  # type: ignore[import-not-found]


class Event(ctypes.Structure):
    _fields_ = (
        ("number", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("from_", ctypes.c_uint64),
        ("to", ctypes.c_uint64),
    )


def main(map_id: int) -> None:
    received = total = sizes = 0
    ended = False

    def take(context: int, data: int, size: int) -> int:
        nonlocal received, total, sizes
        event = ctypes.cast(data, ctypes.POINTER(Event)).contents
        received += 1
        total += event.number
        sizes += event.size
        # The ring never runs empty under load: the end is seen here.
        return -1 if ended else 0

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    callback = _RINGBUF_CB_TYPE(take)
    fd = ctypes.CDLL("libbpf.so.1").bpf_map_get_fd_by_id(map_id)
    ring = lib.bpf_new_ringbuf(fd, callback, None)
    signal.signal(signal.SIGTERM, end)
    print("ready", flush=True)
    while not ended:
        lib.bpf_consume_ringbuf(ring)
    moment = time.monotonic()
    print(json.dumps({"received": received, "sum": total, "sizes": sizes, "end": moment}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
