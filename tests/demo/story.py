# SPDX-License-Identifier: Apache-2.0
"""The run, step by step."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import bpfctl
from bpfctl.btf import Kind

from tests.demo import console, leftovers, network
from tests.demo.network import Network
from tests.demo.outcome import Deviation, Outcome, expect
from tests.demo.processes import Bpfctl, Daemon, Process, in_namespace
from tests.demo.traffic import (
    BLOCKED_PORT,
    PORT,
    REFLECTOR_PORT,
    Flow,
    Receiver,
    Stream,
    http_get,
    wait_until,
)

HTTP_PORT = 8080
RULE = 7
"""The number that comes back in drop events."""
SWAP_PACKETS = 3000
"""Packets before and behind the exchange."""
SWAP = ("--set", "sample_every=1", "--replace")
DESTINATIONS = (network.TARGET, network.TARGET6)


class Story:
    """One run; `tell` does all of it, and what it made is gone when it returns or raises."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where everything of the run is kept, to be removed by the caller."""
        self.outcome = Outcome()
        self.folder = folder
        self.bpffs = Path("/sys/fs/bpf", folder.name)
        self.place = Network()
        self.bpfctl = Bpfctl(folder)
        self._cleaning = ExitStack()
        self._seen: set[tuple[str, int]] = set()

    def tell(self) -> Outcome:
        """Raises Deviation when anything is not as it must be."""
        before = leftovers.look()
        with self._cleaning:
            self._set_the_stage()
            self._deploy()
            with closing(Receiver(self.place)) as receiver:
                self._filter(receiver)
                self._swap(receiver)
            self._follow_connections()
            self._remove(before)
        return self.outcome

    def _set_the_stage(self) -> None:
        console.heading("1. A target and the world: two network namespaces and a wire")
        self._cleaning.callback(shutil.rmtree, self.bpffs, ignore_errors=True)
        self._cleaning.callback(self.place.remove)
        self.place.make()
        console.say(f"world   {self.place.world}: {network.ALLOWED}, {network.BLOCKED}")
        console.say(f"target  {self.place.target}: {network.TARGET}, {network.TARGET6}")
        self.daemon = Daemon(self.place, self.folder, self.bpffs)
        self._cleaning.callback(self.daemon.close)
        console.say(f"the daemon is ready, process {self.daemon.pid}")

    def _deploy(self) -> None:
        console.heading("2. From source to the target's interface")
        self.bpfctl("target", "add", "demo", "--local", str(self.daemon.socket))
        self.bpfctl.choose("demo")
        self.bpfctl("load", "bpf/ddos", "--name", "ddos", "--set", "sample_every=1")
        self._note()
        self.bpfctl("attach", "ddos/ddos", f"xdp:{network.INTERFACE}")
        self._note()
        expect("programs on the interface", self._xdp_on_the_interface(), 1)
        self.bpfctl("link", "list")

    def _filter(self, receiver: Receiver) -> None:
        console.heading("3. Block a prefix, send real packets")
        self.bpfctl("map", "set", "ddos/block_v4", network.BLOCKED_PREFIX, str(RULE))
        self.bpfctl("map", "set", "ddos/block_v6", network.BLOCKED_PREFIX6, str(RULE))
        port = f"protocol=17 port={BLOCKED_PORT}"
        self.bpfctl("map", "set", "ddos/ports", port, "PORT_BLOCKED")
        senders = [
            ("allowed", network.ALLOWED, PORT, 400, "PASSED"),
            ("allowed6", network.ALLOWED6, PORT, 100, "PASSED"),
            ("blocked", network.BLOCKED, PORT, 300, "BLOCKED_SOURCE_V4"),
            ("blocked6", network.BLOCKED6, PORT, 100, "BLOCKED_SOURCE_V6"),
            ("port", network.ALLOWED, BLOCKED_PORT, 50, "BLOCKED_PORT"),
        ]
        sent: Counter[str] = Counter()
        for name, source, to, count, reason in senders:
            with closing(Flow(self.place, name, source, to)) as flow:
                flow.send_many(count)
                sent[reason] += flow.sent
        wait_until("every packet was counted", lambda: total(self._counters()) >= total(sent))
        wait_until("what was passed arrived", lambda: receiver.count() >= sent["PASSED"])
        rows = [
            (source, to, count, len(receiver.numbers(name)))
            for name, source, to, count, _ in senders
        ]
        self.bpfctl("map", "dump", "ddos/counters")
        console.say("")
        console.say(", ".join(f"{count} {name}" for name, count in self._counters().items()))
        console.table(("source", "port", "sent", "received"), rows)
        expect("counters", self._counters(), sent)
        for name, _, _, count, reason in senders:
            wanted = list(range(count)) if reason == "PASSED" else []
            expect(f"packets received of {name}", receiver.numbers(name), wanted)
        events = self._drop_events(sum(sent[each] for each in sent if each != "PASSED"))
        told = Counter(event["reason"] for event in events)
        expect("drop events by reason", told, sent - Counter(PASSED=sent["PASSED"]))
        for event in events:
            expect("destination of a drop", event["destination"] in DESTINATIONS, True)
        blocked = [event for event in events if event["source"] == network.BLOCKED]
        expect("drops of the blocked address", len(blocked), 300)
        expect("rules of these drops", {event["rule"] for event in blocked}, {RULE})

    def _swap(self, receiver: Receiver) -> None:
        console.heading("4. A second version takes over while packets flow")
        console.say(f"it drops amplified answers too: UDP from port {REFLECTOR_PORT}")
        before, seen_before = self._counters(), self._versions()
        with ExitStack() as stack:
            flows = [
                stack.enter_context(closing(Flow(self.place, name, source, PORT, port)))
                for name, source, port in (
                    ("steady", network.ALLOWED, 0),
                    ("attack", network.BLOCKED, 0),
                    ("answers", network.ALLOWED, REFLECTOR_PORT),
                )
            ]
            stream = Stream(flows)
            stack.callback(stream.stop)
            stream.start()
            wait_until("the packets flow", lambda: stream.sent >= SWAP_PACKETS)
            at_begin = stream.sent
            self.bpfctl("load", "bpf/ddos", "--variant", "v2", "--name", "ddos", *SWAP)
            at_end = stream.sent
            wait_until("they still flow", lambda: stream.sent >= at_end + SWAP_PACKETS)
        self._note()
        sent = {flow.name: flow.sent for flow in flows}
        console.say(f"{at_end - at_begin} packets were sent while the command ran")
        wait_until(
            "every packet was counted",
            lambda: total(self._counters()) - total(before) >= sum(sent.values()),
        )
        wait_until(
            "the steady packets arrived",
            lambda: len(receiver.numbers("steady")) >= sent["steady"],
        )
        self._judge_swap(receiver, sent, before, seen_before)

    def _judge_swap(
        self,
        receiver: Receiver,
        sent: dict[str, int],
        before: Counter[str],
        seen_before: Counter[str],
    ) -> None:
        arrived = {name: receiver.numbers(name) for name in sent}
        self.bpfctl("map", "dump", "ddos/versions")
        console.table(
            ("flow", "sent", "received"),
            [(name, count, len(arrived[name])) for name, count in sent.items()],
        )
        lost = set(range(sent["steady"])) - set(arrived["steady"])
        self.outcome.swapped_loss = len(lost)
        expect("packets lost in the exchange", sorted(lost), [])
        expect("steady packets, in order", arrived["steady"], list(range(sent["steady"])))
        expect("packets of the blocked source that got through", arrived["attack"], [])
        through = len(arrived["answers"])
        # The first version passes them and the second one does not: one cut, no gap.
        expect("answers that came through", arrived["answers"], list(range(through)))
        if not 0 < through < sent["answers"]:
            raise Deviation(f"{through} of {sent['answers']} answers came: not two versions")
        counted = self._counters() - before
        wanted = Counter(
            PASSED=sent["steady"] + through,
            BLOCKED_SOURCE_V4=sent["attack"],
            BLOCKED_REFLECTION=sent["answers"] - through,
        )
        expect("counters of the exchange", counted, wanted)
        seen = self._versions() - seen_before
        expect("packets seen by both versions", sum(seen.values()), sum(sent.values()))
        expect("versions that saw packets", sorted(seen), ["V1", "V2"])
        console.say(f"version 1 saw {seen['V1']}, version 2 saw {seen['V2']}, none was missed")
        events = self._drop_events(sum(counted[each] for each in counted if each != "PASSED"))
        told = Counter(event["reason"] for event in events)
        expect("drop events by reason", told, wanted - Counter(PASSED=wanted["PASSED"]))
        now = self._counters()
        self.outcome.passed = sum(now[name] for name in now if name.startswith("PASSED"))
        self.outcome.blocked = total(now) - self.outcome.passed

    def _follow_connections(self) -> None:
        console.heading("5. A tracing program tells of an HTTP request")
        pages = self.folder / "pages"
        pages.mkdir()
        (pages / "index.html").write_text("It works.\n" * 1000)
        words = [sys.executable, "-m", "http.server", str(HTTP_PORT), "--bind", network.TARGET]
        words = in_namespace(self.place, *words, "--directory", str(pages))
        self.server = Process(words, self.folder / "http.log")
        self._cleaning.callback(self.server.close)
        wait_until("the HTTP server listens", self._http_listens)

        netns = self.place.inode(self.place.target)
        self.bpfctl("load", "bpf/tcplife", "--name", "tcplife", "--set", f"netns={netns}")
        self.bpfctl("attach", "tcplife/tcplife", "tracepoint:sock/inet_sock_set_state")
        self._note()
        request, answer, client = http_get(self.place, HTTP_PORT, "/index.html")
        console.say("")
        console.say(f"GET http://{network.TARGET}:{HTTP_PORT}/index.html")
        console.say(answer.split(b"\r\n")[0].decode())
        expect("status of the answer", answer.split()[1:2], [b"200"])
        (event,) = self._events("tcplife/ended", 1)
        wanted = {
            "local": network.TARGET,
            "local_port": HTTP_PORT,
            "remote": client[0],
            "remote_port": client[1],
            "bytes_received": len(request),
            "bytes_sent": len(answer),
            "origin": "ACCEPTED",
            "netns": netns,
            "pid": self.server.pid,
        }
        expect("the event", {name: event[name] for name in wanted}, wanted)
        expect("a duration", event["duration_ns"] > 0, True)

    def _remove(self, before: set[tuple[str, int]]) -> None:
        console.heading("6. Remove everything, and look for what is left")
        self.bpfctl("unload", "tcplife")
        self.bpfctl("unload", "ddos")
        expect("objects of the daemon", self.bpfctl.json("object", "list"), [])
        expect("programs on the interface", self._xdp_on_the_interface(), 0)
        self.bpfctl("target", "remove", "demo")
        expect("exit code of the daemon", self.daemon.stop(), 0)
        self.server.stop()
        self.place.remove()
        search = leftovers.Search(before, self._seen, self.folder, self.bpffs)
        found = {
            "programs, maps and links": search.objects(),
            "pins": search.pins(),
            "network namespaces": self.place.left(),
            "processes": search.processes(),
            "sockets": search.sockets(),
            "temporary files": search.temporary_files(),
        }
        console.table(
            ("left", "", ""),
            [(kind, len(names), ", ".join(names)) for kind, names in found.items()],
        )
        self.outcome.left = sum(map(len, found.values()))
        everything = [name for names in found.values() for name in names]
        expect("what is left", everything, [])
        expect("objects of the run that were looked for", len(self._seen) > 0, True)

    def _note(self) -> None:
        """Remember the kernel's ids of what the run has loaded and attached."""
        with bpfctl.connect(f"unix:{self.daemon.socket}") as target:
            for held in target.objects():
                self._seen |= {("program", entry.id) for entry in held.message.programs}
                self._seen |= {("map", entry.id) for entry in held.message.maps}
            for link in target.links():
                self._seen |= {("link", number) for number in link.link_ids}

    def _counters(self) -> Counter[str]:
        """Packets by reason; those with none are left out."""
        return self._rows("ddos/counters", "reason")

    def _versions(self) -> Counter[str]:
        return self._rows("ddos/versions", "version")

    def _rows(self, name: str, enum: str) -> Counter[str]:
        """Packets by key of a map, whose keys are the places of an enum."""
        rows = self.bpfctl.json("map", "dump", name)
        names = self._names(name, enum)
        counted: Counter[str] = Counter()
        for row in rows:
            counted[names.get(row["key"], row["key"])] += row["value"]["packets"]
        return +counted

    def _names(self, name: str, enum: str) -> dict[int, str]:
        """The values of an enum of the object that a map belongs to."""
        with bpfctl.connect(f"unix:{self.daemon.socket}") as target:
            found: Any = target.btf.of_id(target.map(name).info.btf_id).find(enum, Kind.ENUM)
        return {number: text for text, number in found.values}

    def _drop_events(self, count: int) -> list[dict[str, Any]]:
        return self._events("ddos/drops", count)

    def _events(self, name: str, count: int) -> list[dict[str, Any]]:
        """Exactly so many events of a ring, shown in part; adds to the outcome."""
        done = self.bpfctl("events", name, "-o", "jsonl", "--count", str(count), most=5)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        report = re.search(r"(\d+) events received, (\d+) lost", done.stderr)
        if report is None:
            raise Deviation(f"no report of losses: {done.stderr.strip()!r}")
        lost = int(report[2]) + total(self._rows_of_losses(f"{name}_lost"))
        self.outcome.events += len(events)
        self.outcome.lost += lost
        expect(f"events of {name}", len(events), count)
        expect(f"events of {name} lost", lost, 0)
        return events

    def _rows_of_losses(self, name: str) -> Counter[str]:
        return Counter({"lost": sum(r["value"] for r in self.bpfctl.json("map", "dump", name))})

    def _xdp_on_the_interface(self) -> int:
        words = ["ip", "-n", self.place.target, "-j", "link", "show", "dev", network.INTERFACE]
        done = subprocess.run(words, capture_output=True, check=True)
        return sum("xdp" in each for each in json.loads(done.stdout))

    def _http_listens(self) -> bool:
        if not self.server.running():
            raise Deviation(f"the HTTP server ended: {self.server.said().strip()}")
        text = Path("/proc", str(self.server.pid), "net", "tcp").read_text()
        return f":{HTTP_PORT:04X} 00000000:0000 0A" in text


def total(counted: Counter[str]) -> int:
    return sum(counted.values())
