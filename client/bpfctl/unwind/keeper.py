# SPDX-License-Identifier: Apache-2.0
"""Brings unwind tables for processes as they are seen, beside what goes on."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from bpfctl.errors import BpfctlError
from bpfctl.unwind.tables import Unwinder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bpfctl.objects import LoadedObject
    from bpfctl.sessions import Session
    from bpfctl.symbols.process import Mapping, Process
    from bpfctl.target import Target


class Keeper:
    """A thread that gives an `Unwinder` the processes it is told of.

    Whoever reads samples does not wait for tables of files that were never seen.
    """

    def __init__(self, target: Target, session: Session, loaded: LoadedObject) -> None:
        self.unwinder = Unwinder(target, session, loaded, _Fetcher(target))
        self.failed: BpfctlError | None = None
        """Why no more tables came; None: they do."""
        self._waiting: queue.SimpleQueue[Process | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="unwind tables", daemon=True)

    def start(self, processes: Iterable[Process]) -> None:
        """Takes these at once, before it returns; later ones in the thread."""
        self.unwinder.add(processes)
        self._thread.start()

    def take(self, process: Process) -> None:
        """What was seen of a process, which may have mapped more since."""
        self._waiting.put(process)

    def stop(self) -> None:
        """Ends the thread; tables that are being made are given up."""
        self._stopped.set()
        self._waiting.put(None)
        self.unwinder.makers.close()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while (process := self._waiting.get()) is not None and not self._stopped.is_set():
                self.unwinder.add([process])
        except BpfctlError as error:
            self.failed = error


class _Fetcher:
    """Content of mapped files, by way of what the workstation keeps of them."""

    def __init__(self, target: Target) -> None:
        from bpfctl.symbols.target_files import TargetFiles

        self._files = TargetFiles(target.files)

    def __call__(self, process: Process, mapping: Mapping) -> Path:
        kept = self._files.kept(mapping.build_id.hex())
        if kept is not None:
            return kept
        place, why = self._files.find(process, mapping)
        if place is None:
            raise ValueError(why)
        return self._files.fetch(place)
