# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM as exceptions, but never between two steps of gRPC.

Python runs a signal's handler between any two instructions of the main thread. An exception
from there, just when gRPC has taken one of its locks, leaves that lock taken for good, and
whoever wants it next waits for ever: the clean-up that the exception is meant for.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import NoReturn

_RETRY_SECONDS = 0.01
_GRPC = f"{os.sep}grpc{os.sep}"
_WAIT = threading.Condition.wait.__code__

_pending: int | None = None
"""Signal that came at a bad moment."""


def install() -> None:
    """SIGINT raises KeyboardInterrupt; SIGTERM and SIGHUP SystemExit(128 + number).

    What is ignored, as by nohup, stays so.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _arrived)
    signal.signal(signal.SIGALRM, _try_again)


def _arrived(number: int, frame: FrameType | None) -> None:
    global _pending
    if inside_grpc(frame):
        _pending = number
        signal.setitimer(signal.ITIMER_REAL, _RETRY_SECONDS)
    else:
        _raise(number)


def _try_again(_: int, frame: FrameType | None) -> None:
    global _pending
    number = _pending
    if number is None:
        return
    # Where gRPC waits, it holds no lock, and takes it again before an exception leaves.
    if inside_grpc(frame) and (frame is None or frame.f_code is not _WAIT):
        signal.setitimer(signal.ITIMER_REAL, _RETRY_SECONDS)
        return
    _pending = None
    _raise(number)


def inside_grpc(frame: FrameType | None) -> bool:
    """Whether a frame, or one that called it, is gRPC's."""
    while frame is not None:
        if _GRPC in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _raise(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
