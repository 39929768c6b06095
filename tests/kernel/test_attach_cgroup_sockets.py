# SPDX-License-Identifier: Apache-2.0
"""cgroup_sock, cgroup_sock_addr, cgroup_sockopt, cgroup_sysctl, cgroup_device and
lsm_cgroup: what a process of the cgroup is forbidden, and what it is told."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import signal
import socket
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfd import attach, errors, features
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import ATOMIC
from bpfd.kernel import cgroup, syscall
from bpfd.kernel.constants import AttachType
from bpfd.v1 import attach_pb2, common_pb2
from tests.kernel.hooks_support import needs_root, own_cgroup
from tests.kernel.numbered import Numbered, numbered

pytestmark = needs_root

Point = attach_pb2.AttachPoint
HIDDEN = 4321
"""A port that nobody has bound: programs put it where the real one was, or the other way."""


@pytest.fixture
def group() -> Iterator[str]:
    with own_cgroup() as found:
        yield found


@pytest.fixture
def loaded(group: str) -> Iterator[Numbered]:
    with numbered("cgroup_hooks") as found:
        yield found


def sock(path: str, hook: str) -> Point:
    number = attach_pb2.CgroupSockHook.Value(f"CGROUP_SOCK_HOOK_{hook}")
    return Point(
        cgroup_sock=attach_pb2.CgroupSock(cgroup=common_pb2.Cgroup(path=path), hook=number)
    )


def sock_addr(path: str, hook: str) -> Point:
    number = attach_pb2.CgroupSockAddrHook.Value(f"CGROUP_SOCK_ADDR_HOOK_{hook}")
    return Point(
        cgroup_sock_addr=attach_pb2.CgroupSockAddr(
            cgroup=common_pb2.Cgroup(path=path), hook=number
        )
    )


def sockopt(path: str, is_set: bool) -> Point:
    return Point(
        cgroup_sockopt=attach_pb2.CgroupSockopt(cgroup=common_pb2.Cgroup(path=path), set=is_set)
    )


def said(group: str, script: str) -> str:
    """What a script prints as a process of the cgroup, or the last line of its traceback.

    A child of this process: to start a Python takes seconds on an emulated board.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)
        output = io.StringIO()
        try:
            Path(group, "cgroup.procs").write_text("0")
            with contextlib.redirect_stdout(output):
                exec(script, {"socket": socket})
            text = output.getvalue()
        except BaseException as error:
            text = traceback.format_exception_only(error)[-1]
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        text = file.read()
    os.waitpid(child, 0)
    return text.strip()


SOCKET = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()\nprint('made')"


def test_sockets_are_not_made(loaded: Numbered, group: str) -> None:
    attachment = attach.attach(loaded["sock_create"], sock(group, "CREATE"))
    assert attachment.method == "cgroup link"
    assert said(group, SOCKET) == "PermissionError: [Errno 1] Operation not permitted"
    assert loaded.runs == 1
    attachment.close()
    assert said(group, SOCKET) == "made"
    assert loaded.runs == 1


def test_closed_sockets_are_seen(loaded: Numbered, group: str) -> None:
    attachment = attach.attach(loaded["sock_release"], sock(group, "RELEASE"))
    assert said(group, f"{SOCKET}\n{SOCKET}") == "made\nmade"
    assert loaded.runs == 2
    attachment.close()


@pytest.mark.parametrize(("version", "address"), [(4, "127.0.0.1"), (6, "::1")])
def test_a_port_cannot_be_bound(
    loaded: Numbered, group: str, version: int, address: str
) -> None:
    family = "AF_INET" if version == 4 else "AF_INET6"
    bind = f"""
made = socket.socket(socket.{family}, socket.SOCK_DGRAM)
made.bind(({address!r}, {HIDDEN}))
print(made.getsockname()[1])
"""
    loaded.set(HIDDEN)
    point = sock(group, f"POST_BIND{version}")
    attachment = attach.attach(loaded[f"post_bind{version}"], point)
    assert said(group, bind).startswith("PermissionError")
    loaded.set(1)
    assert said(group, bind) == str(HIDDEN)
    assert loaded.runs == 2
    attachment.close()


MADE = {
    "BIND": f"""
made = socket.socket(FAMILY, socket.SOCK_DGRAM)
made.bind((ADDRESS, {HIDDEN + 1}))
print(made.getsockname()[1])
""",
    "RECVMSG": """
made = socket.socket(FAMILY, socket.SOCK_DGRAM)
made.bind((ADDRESS, 0))
made.sendto(b"x", made.getsockname())
made.settimeout(20)
print(made.recvfrom(10)[1][1])
""",
    "GETPEERNAME": """
made = socket.socket(FAMILY, socket.SOCK_DGRAM)
made.bind((ADDRESS, 0))
made.connect(made.getsockname())
print(made.getpeername()[1])
""",
    "GETSOCKNAME": """
made = socket.socket(FAMILY, socket.SOCK_DGRAM)
made.bind((ADDRESS, 0))
print(made.getsockname()[1])
""",
}
"""Scripts that print a port, which the program of the hook makes HIDDEN."""

VERSIONS = pytest.mark.parametrize("version", [4, 6])


def script(text: str, version: int) -> str:
    family, address = ("AF_INET", "127.0.0.1") if version == 4 else ("AF_INET6", "::1")
    return f"FAMILY, ADDRESS = socket.{family}, {address!r}\n{text}"


@VERSIONS
@pytest.mark.parametrize("hook", MADE)
def test_a_port_becomes_another(loaded: Numbered, group: str, hook: str, version: int) -> None:
    loaded.set(HIDDEN)
    program = loaded[f"{hook.lower()}{version}"]
    attachment = attach.attach(program, sock_addr(group, f"{hook}{version}"))
    assert said(group, script(MADE[hook], version)) == str(HIDDEN)
    runs = loaded.runs
    assert runs >= 1
    attachment.close()
    assert said(group, script(MADE[hook], version)) != str(HIDDEN)
    assert loaded.runs == runs


@VERSIONS
def test_a_connection_goes_to_another_port(loaded: Numbered, group: str, version: int) -> None:
    connect = f"""
made = socket.socket(FAMILY, socket.SOCK_STREAM)
made.settimeout(20)
made.connect((ADDRESS, {HIDDEN}))
made.sendall(b"hello")
"""
    with server(version, socket.SOCK_STREAM) as listening:
        listening.listen()
        loaded.set(listening.getsockname()[1])
        point = sock_addr(group, f"CONNECT{version}")
        attachment = attach.attach(loaded[f"connect{version}"], point)
        assert said(group, script(connect, version)) == ""
        with listening.accept()[0] as connection:
            assert connection.recv(10) == b"hello"
        attachment.close()
        assert said(group, script(connect, version)).startswith("ConnectionRefusedError")
        assert loaded.runs == 1


@VERSIONS
def test_a_packet_goes_to_another_port(loaded: Numbered, group: str, version: int) -> None:
    send = f"socket.socket(FAMILY, socket.SOCK_DGRAM).sendto(b'hello', (ADDRESS, {HIDDEN}))"
    with server(version, socket.SOCK_DGRAM) as receiver:
        loaded.set(receiver.getsockname()[1])
        point = sock_addr(group, f"SENDMSG{version}")
        attachment = attach.attach(loaded[f"sendmsg{version}"], point)
        assert said(group, script(send, version)) == ""
        assert receiver.recv(10) == b"hello"
        assert loaded.runs == 1
        attachment.close()


def server(version: int, kind: socket.SocketKind) -> socket.socket:
    """A bound socket of this process, outside the cgroup."""
    family, address = (
        (socket.AF_INET, "127.0.0.1") if version == 4 else (socket.AF_INET6, "::1")
    )
    made = socket.socket(family, kind)
    made.bind((address, 0))
    made.settimeout(20)
    return made


UNIX = """
import os, tempfile
path = tempfile.mkdtemp() + "/socket"
listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listening.bind(path)
listening.listen()
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(path + "2")
made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.bind(path + "3")
def remove():
    for end in ("", "2", "3"):
        os.unlink(path + end)
    os.rmdir(os.path.dirname(path))
try:
    CALL
finally:
    remove()
print("done")
"""


@pytest.mark.parametrize(
    ("hook", "call", "allowed"),
    [
        ("CONNECT", "made.connect(path)", False),
        ("SENDMSG", "sender.sendto(b'x', path + '2')", False),
        ("RECVMSG", "sender.sendto(b'x', path + '2'); receiver.recvfrom(10)", True),
        ("GETPEERNAME", "made.connect(path); made.getpeername()", True),
        ("GETSOCKNAME", "receiver.getsockname()", True),
    ],
)
def test_addresses_of_unix_sockets(group: str, hook: str, call: str, allowed: bool) -> None:
    try:
        features.require("cgroup Unix sockets")
    except errors.NotSupported as error:
        pytest.skip(str(error))
    with numbered("cgroup_unix") as loaded:
        point = sock_addr(group, f"{hook}_UNIX")
        attachment = attach.attach(loaded[f"{hook.lower()}_unix"], point)
        words = said(group, UNIX.replace("CALL", call))
        assert words == "done" if allowed else words.startswith("PermissionError")
        runs = loaded.runs  # an unclosed socket that Python collects asks for its names
        assert runs >= 1
        attachment.close()
        assert said(group, UNIX.replace("CALL", call)) == "done"
        assert loaded.runs == runs


TOS = """
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
SET
print(made.getsockopt(socket.IPPROTO_IP, socket.IP_TOS))
"""


def test_what_getsockopt_says_is_changed(loaded: Numbered, group: str) -> None:
    loaded.set(0x28)
    attachment = attach.attach(loaded["getsockopt"], sockopt(group, False))
    assert said(group, TOS.replace("SET", "")) == str(0x28)
    assert loaded.runs == 1
    attachment.close()
    assert said(group, TOS.replace("SET", "")) == "0"


def test_what_setsockopt_sets_is_changed(loaded: Numbered, group: str) -> None:
    loaded.set(0x28)
    script = TOS.replace("SET", "made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 4)")
    attachment = attach.attach(loaded["setsockopt"], sockopt(group, True))
    assert said(group, script) == str(0x28)
    assert loaded.runs == 1
    attachment.close()
    assert said(group, script) == "4"


def test_a_sysctl_cannot_be_read(loaded: Numbered, group: str) -> None:
    point = Point(cgroup_sysctl=attach_pb2.CgroupSysctl(cgroup=common_pb2.Cgroup(path=group)))
    read = "print(open('/proc/sys/kernel/ostype').read())"
    attachment = attach.attach(loaded["sysctl"], point)
    assert said(group, read).startswith("PermissionError")
    assert loaded.runs == 1
    assert said(group, read.replace("ostype", "osrelease")) == os.uname().release
    attachment.close()
    assert said(group, read) == "Linux"


def test_a_device_cannot_be_opened(loaded: Numbered, group: str) -> None:
    point = Point(cgroup_device=attach_pb2.CgroupDevice(cgroup=common_pb2.Cgroup(path=group)))
    read = "print(open('/dev/zero', 'rb').read(1))"
    attachment = attach.attach(loaded["device"], point)
    assert said(group, read).startswith("PermissionError")
    assert said(group, read.replace("zero", "null")) == "b''"
    attachment.close()
    assert said(group, read) == r"b'\x00'"


def test_a_security_hook_of_the_cgroup(group: str) -> None:
    try:
        features.require("LSM of cgroups")
    except errors.NotSupported as error:
        pytest.skip(str(error))
    point = Point(lsm_cgroup=attach_pb2.LsmCgroup(cgroup=common_pb2.Cgroup(path=group)))
    bind = script(MADE["BIND"], 4)
    with numbered("lsm_cgroup") as loaded:
        try:
            attachment = attach.attach(loaded["no_bind"], point)
        except errors.NotSupported as error:
            pytest.skip(str(error))
        assert said(group, bind).startswith("PermissionError")
        assert loaded.runs == 1
        assert find_point(attachment.fds) == point
        server(4, socket.SOCK_DGRAM).close()
        attachment.close()
        assert said(group, bind) == str(HIDDEN + 1)


def test_the_hook_that_the_program_was_loaded_for(loaded: Numbered, group: str) -> None:
    reference = common_pb2.Cgroup(path=group)
    for program, point in (
        ("connect6", Point(cgroup_sock_addr=attach_pb2.CgroupSockAddr(cgroup=reference))),
        ("sock_release", Point(cgroup_sock=attach_pb2.CgroupSock(cgroup=reference))),
    ):
        attachment = attach.attach(loaded[program], point)
        getattr(point, point.WhichOneof("point") or "").hook = {
            "connect6": attach_pb2.CGROUP_SOCK_ADDR_HOOK_CONNECT6,
            "sock_release": attach_pb2.CGROUP_SOCK_HOOK_RELEASE,
        }[program]
        assert find_point(attachment.fds) == point
        attachment.close()


@pytest.mark.parametrize(
    ("program", "point", "words"),
    [
        ("connect4", sock_addr("x", "CONNECT6"), "loaded for connect4, not for connect6"),
        ("sock_create", sock("x", "POST_BIND4"), "loaded for create, not for post_bind4"),
        ("getsockopt", sockopt("x", True), "loaded for getsockopt, not for setsockopt"),
        ("setsockopt", sockopt("x", False), "loaded for setsockopt, not for getsockopt"),
        ("sysctl", sock("x", "CREATE"), "cgroup_sock takes cgroup_sock"),
    ],
)
def test_programs_that_do_not_fit(
    loaded: Numbered, program: str, point: Point, words: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=words):
        attach.attach(loaded[program], point)


def test_programs_of_unknown_purpose_need_a_hook(loaded: Numbered, group: str) -> None:
    program = dataclasses.replace(loaded["connect4"], expected_attach_type=0)
    point = sock_addr(group, "CONNECT4")
    attach.attach(program, point).close()
    point.cgroup_sock_addr.hook = attach_pb2.CGROUP_SOCK_ADDR_HOOK_UNSPECIFIED
    with pytest.raises(errors.InvalidArgument, match="one of bind4, bind6, connect4"):
        attach.attach(program, point)
    point.cgroup_sock_addr.hook = 99  # type: ignore[assignment]
    with pytest.raises(errors.InvalidArgument, match="99 is none of bind4"):
        attach.attach(program, point)


def test_the_program_is_exchanged_for_one_of_the_same_hook(
    loaded: Numbered, group: str
) -> None:
    attachment = attach.attach(loaded["sock_create"], sock(group, "CREATE"))
    assert attachment.update(loaded["sock_create_count"]) == ATOMIC
    assert said(group, SOCKET) == "made"
    assert loaded.runs == 1
    with pytest.raises(errors.InvalidArgument, match="cgroup_inet_sock_release, and the link"):
        attachment.update(loaded["sock_release"])
    attachment.close()


def test_the_first_of_two_programs_decides(loaded: Numbered, group: str) -> None:
    point = sock_addr(group, "CONNECT4")
    never = attach.attach(loaded["connect4_never"], point)
    point.cgroup_sock_addr.order.first = True
    try:
        first = attach.attach(loaded["connect4"], point)
    except errors.NotSupported as error:
        never.close()
        pytest.skip(str(error))
    fd = cgroup.open_path(group)
    attached, _ = syscall.prog_query(fd, AttachType.CGROUP_INET4_CONNECT)
    os.close(fd)
    assert attached == [loaded["connect4"].id, loaded["connect4_never"].id]
    first.close()
    never.close()


def test_pinned_links_are_adopted(loaded: Numbered, group: str) -> None:
    reference = common_pb2.Cgroup(path=group)
    for program, point in (
        ("sock_create", sock(group, "CREATE")),
        ("connect6", sock_addr(group, "CONNECT6")),
        ("setsockopt", sockopt(group, True)),
        ("getsockopt", sockopt(group, False)),
        ("sysctl", Point(cgroup_sysctl=attach_pb2.CgroupSysctl(cgroup=reference))),
        ("device", Point(cgroup_device=attach_pb2.CgroupDevice(cgroup=reference))),
    ):
        attachment = attach.attach(loaded[program], point)
        pin = f"/sys/fs/bpf/hk-{os.getpid()}"
        syscall.obj_pin(attachment.fds[0], pin)
        try:
            attachment.release()
            adopted = adopt([syscall.obj_get(pin)])
        finally:
            os.unlink(pin)
        assert adopted.hook.name == point.WhichOneof("point")
        assert find_point(adopted.fds) == point
        if program == "sock_create":
            with pytest.raises(errors.InvalidArgument, match="sock_release"):
                adopted.update(loaded["sock_release"])
            assert said(group, SOCKET).startswith("PermissionError")
        adopted.close()
    assert said(group, SOCKET) == "made"
