# SPDX-License-Identifier: Apache-2.0
"""Namespaces by all that leads to them, and what comes and goes while it is looked at."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import grpc

from bpfd.kernel import cgroup, elf_object, interface, netns, syscall
from bpfd.kernel.constants import AttachType
from bpfd.kernel.load_options import LoadOptions
from bpfd.v1 import links_pb2
from tests.kernel import hooks_support
from tests.kernel.api import Api
from tests.kernel.hooks_support import needs_root

pytestmark = needs_root


def test_every_namespace_is_found_once(channel: grpc.Channel, tmp_path: Path) -> None:
    bound, fd = tmp_path / "bound", -1
    bound.touch()
    with ExitStack() as undo:
        process = subprocess.Popen(["unshare", "-n", "sleep", "60"])
        undo.callback(process.wait)
        undo.callback(process.kill)
        _until(lambda: _inode_of(process.pid) != netns.own().inode)
        short = subprocess.Popen(["unshare", "-n", "sleep", "60"])
        _until(lambda: _inode_of(short.pid) != netns.own().inode)
        fd = os.open(f"/proc/{short.pid}/ns/net", os.O_RDONLY)
        undo.callback(os.close, fd)
        third = subprocess.Popen(["unshare", "-n", "sleep", "60"])
        _until(lambda: _inode_of(third.pid) != netns.own().inode)
        mount = ["mount", "--bind", f"/proc/{third.pid}/ns/net", str(bound)]
        subprocess.run(mount, check=True)
        undo.callback(subprocess.run, ["umount", str(bound)], check=True)
        for each in (short, third):
            each.kill()
            each.wait()
        program = _loopback_program(undo, f"/proc/self/fd/{fd}")
        answer = Api(channel).links.ListAttachments(links_pb2.ListAttachmentsRequest())
        found = {each.inode: each for each in answer.namespaces}
        assert len(found) == len(answer.namespaces)
        assert answer.namespaces[0].inode == netns.own().inode
        of_process = found[_inode_of(process.pid)]
        assert (of_process.pid, of_process.comm) == (process.pid, "sleep")
        assert found[os.stat(bound).st_ino].path == str(bound)
        assert found[os.fstat(fd).st_ino].path == f"/proc/{os.getpid()}/fd/{fd}"
        (there,) = (each for each in answer.attachments if each.program_id == program)
        assert there.netns_inode == os.fstat(fd).st_ino
        assert there.interface == "lo"


def _inode_of(pid: int) -> int:
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _loopback_program(undo: ExitStack, namespace: str) -> int:
    """Generic XDP on the loopback of a namespace: the program's id."""
    loaded = elf_object.load("hooks", hooks_support.compiled(), LoadOptions())
    undo.callback(loaded.close)
    program = loaded.programs["xdp_count"]
    with netns.entered(namespace):
        index = interface.index_of("lo")
        link = syscall.link_create(program.fd, index, AttachType.XDP, 1 << 1)
    undo.callback(os.close, link)
    return program.id


def test_what_vanishes_is_no_error(channel: grpc.Channel) -> None:
    api, stop = Api(channel), threading.Event()
    failures: list[BaseException] = []

    def keep(work: Callable[[], None]) -> None:
        while not stop.is_set():
            try:
                work()
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=keep, args=(work,)) for work in (_load, _group, _space)]
    for thread in threads:
        thread.start()
    try:
        most = 0
        begin = time.monotonic()
        while time.monotonic() < begin + (3 if most else 60) and not failures:
            request = links_pb2.ListAttachmentsRequest(programs=True, maps=True, effective=True)
            answer = api.links.ListAttachments(request)
            most = max(most, len(answer.attachments))
            why = [each.why for each in answer.left_out if "network namespace /" in each.what]
            assert not why
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    assert most > 0, "nothing was there to vanish"


def _load() -> None:
    loaded = elf_object.load("hooks", hooks_support.compiled(), LoadOptions())
    try:
        link = syscall.raw_tracepoint_open(
            "sys_enter", loaded.programs["raw_tracepoint_other"].fd
        )
        time.sleep(0.01)
        os.close(link)
    finally:
        loaded.close()


def _group() -> None:
    loaded = elf_object.load("hooks", hooks_support.compiled(), LoadOptions())
    path = f"{cgroup.root()}/vanishing-{os.getpid()}"
    os.mkdir(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        egress = loaded.programs["cgroup_count"]
        link = syscall.link_create(egress.fd, fd, AttachType.CGROUP_INET_EGRESS)
        os.close(fd)
        time.sleep(0.01)
    finally:
        os.rmdir(path)
    time.sleep(0.005)  # the link is of a control group that is gone
    os.close(link)
    loaded.close()


def _space() -> None:
    name = f"vanishing-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        with contextlib.ExitStack() as undo:
            _loopback_program(undo, f"/run/netns/{name}")
            subprocess.run(["ip", "netns", "del", name], check=True)
            time.sleep(0.01)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def test_a_link_whose_interface_is_gone(channel: grpc.Channel) -> None:
    with ExitStack() as undo:
        with hooks_support.veth_pair() as pair:
            loaded = elf_object.load("hooks", hooks_support.compiled(), LoadOptions())
            undo.callback(loaded.close)
            program = loaded.programs["xdp_count"]
            with netns.entered(f"/run/netns/{pair.near}"):
                index = interface.index_of("hk0")
                link = syscall.link_create(program.fd, index, AttachType.XDP)
            undo.callback(os.close, link)
        links = Api(channel).links

        def found() -> links_pb2.Attachment:
            answer = links.ListAttachments(links_pb2.ListAttachmentsRequest())
            (message,) = (each for each in answer.attachments if each.program_id == program.id)
            return message

        _until(lambda: found().detached)  # namespaces are taken down in the background
        message = found()
        assert message.link_id
        assert not message.interface
        assert message.point.WhichOneof("point") is None
