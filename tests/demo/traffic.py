# SPDX-License-Identifier: Apache-2.0
"""Real packets from the world to the target, each with a number, and who receives them."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack

from tests.demo import network
from tests.demo.network import Network
from tests.demo.outcome import Deviation

PORT = 9000
"""Where the target listens."""
BLOCKED_PORT = 9007
REFLECTOR_PORT = 11211
"""Source port of memcached, whose answers the second version drops."""

_BURST, _PAUSE = 8, 0.002
"""A veth's ring has 256 places: senders pause behind every few packets."""
_SECONDS = 15.0
_PAYLOAD = struct.Struct("!16sQ")


def wait_until(what: str, done: Callable[[], bool]) -> None:
    """Wait for a condition; Deviation when it does not come."""
    if not settled(done):
        raise Deviation(f"not so after {_SECONDS:g} s: {what}")


def settled(done: Callable[[], bool]) -> bool:
    """Wait for a condition; False when it does not come."""
    until = time.monotonic() + _SECONDS
    while not done():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


class Receiver:
    """The target's server: numbers of the packets that came, by the name of their flow."""

    def __init__(self, place: Network) -> None:
        self._numbers: defaultdict[str, list[int]] = defaultdict(list)
        self._stop = threading.Event()
        self._sockets = []
        self._threads = []
        with place.inside(place.target):
            for address, port in (
                (network.TARGET, PORT),
                (network.TARGET6, PORT),
                (network.TARGET, BLOCKED_PORT),
            ):
                self._sockets.append(_listening(address, port))
        for each in self._sockets:
            self._threads.append(threading.Thread(target=self._run, args=(each,)))
            self._threads[-1].start()

    def _run(self, source: socket.socket) -> None:
        while not self._stop.is_set():
            try:
                data = source.recv(2048)
            except TimeoutError:
                continue
            name, number = _PAYLOAD.unpack(data)
            self._numbers[name.rstrip(b"\0").decode()].append(number)

    def numbers(self, flow: str) -> list[int]:
        """In the order in which they came."""
        return list(self._numbers[flow])

    def count(self) -> int:
        """Packets of all flows."""
        return sum(map(len, list(self._numbers.values())))

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()


class Flow:
    """Packets of one sender, numbered from 0; close it."""

    def __init__(
        self, place: Network, name: str, source: str, port: int = PORT, source_port: int = 0
    ) -> None:
        self.name = name
        self.sent = 0
        self._source_port = source_port or 40000
        self._port = port
        self._raw = ":" in source
        self._source = source
        with place.inside(place.world):
            if self._raw:
                self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                self._socket.bind((network.INTERFACE, 0))
            else:
                self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._socket.bind((source, source_port))
                self._socket.connect((network.TARGET, port))

    def send(self) -> None:
        """The next packet."""
        data = _PAYLOAD.pack(self.name.encode(), self.sent)
        if self._raw:
            data = _frame(self._source, self._source_port, self._port, data)
        self._socket.send(data)
        self.sent += 1

    def send_many(self, count: int) -> None:
        for number in range(1, count + 1):
            self.send()
            if number % _BURST == 0:
                time.sleep(_PAUSE)

    def close(self) -> None:
        self._socket.close()


class Stream:
    """Sends packets of several flows by turns until `stop`; in the background."""

    def __init__(self, flows: list[Flow]) -> None:
        self.flows = flows
        self._stop = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run)

    @property
    def sent(self) -> int:
        return sum(flow.sent for flow in self.flows)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for flow in self.flows:
                    for _ in range(_BURST // len(self.flows) or 1):
                        flow.send()
                time.sleep(_PAUSE)
        except OSError as error:
            self._failure = error

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Raises Deviation when the sender had failed."""
        self._stop.set()
        if self._thread.ident:
            self._thread.join()
        if self._failure:
            raise Deviation(f"the sender failed: {self._failure}")


def http_get(place: Network, port: int, path: str) -> tuple[bytes, bytes, tuple[str, int]]:
    """One request from the world: what went out, all that came back, and from where."""
    with ExitStack() as stack:
        with place.inside(place.world):
            client = stack.enter_context(socket.socket())
        client.settimeout(_SECONDS)
        client.bind((network.ALLOWED, 0))
        client.connect((network.TARGET, port))
        request = f"GET {path} HTTP/1.0\r\nHost: {network.TARGET}\r\n\r\n".encode()
        client.sendall(request)
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
        return request, answer, client.getsockname()


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
    made.settimeout(0.1)
    made.bind((address, port))
    return made


_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; not in Python's socket module


def _frame(source: str, source_port: int, port: int, data: bytes) -> bytes:
    """An Ethernet frame with IPv6 and UDP, with its checksum (RFC 8200, section 8.1)."""
    addresses = b"".join(
        socket.inet_pton(socket.AF_INET6, each) for each in (source, network.TARGET6)
    )
    length = 8 + len(data)
    udp = struct.pack("!HHHH", source_port, port, length, 0) + data
    words = addresses + struct.pack("!II", length, socket.IPPROTO_UDP) + udp
    total = sum(struct.unpack(f"!{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    udp = udp[:6] + struct.pack("!H", ~total & 0xFFFF or 0xFFFF) + udp[8:]
    macs = bytes.fromhex((network.TARGET_MAC + network.WORLD_MAC).replace(":", ""))
    ipv6 = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_UDP, 64) + addresses
    return macs + struct.pack("!H", 0x86DD) + ipv6 + udp
