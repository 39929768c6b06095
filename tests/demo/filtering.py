# SPDX-License-Identifier: Apache-2.0
"""Steps 2 and 3: the filter to the interface, a prefix blocked, packets sent and counted."""

from __future__ import annotations

from collections import Counter
from contextlib import closing

from tests.demo import console, network
from tests.demo.outcome import expect
from tests.demo.stage import Stage, total
from tests.demo.traffic import BLOCKED_PORT, PORT, Flow, Receiver, settled

RULE = 7
"""The number that comes back in drop events."""
DESTINATIONS = (network.TARGET, network.TARGET6)


def deploy(stage: Stage) -> None:
    console.heading("2. From source to the target's interface")
    stage.bpfctl("target", "add", "demo", "--local", str(stage.daemon.socket))
    stage.bpfctl.choose("demo")
    stage.bpfctl("load", "bpf/ddos", "--name", "ddos", "--set", "sample_every=1")
    stage.note()
    stage.bpfctl("attach", "ddos/ddos", f"xdp:{network.INTERFACE}")
    stage.note()
    expect("programs on the interface", stage.xdp_on_the_interface(), 1)
    stage.bpfctl("link", "list")


def send_packets(stage: Stage, receiver: Receiver) -> None:
    console.heading("3. Block a prefix, send real packets")
    stage.bpfctl("map", "set", "ddos/block_v4", network.BLOCKED_PREFIX, str(RULE))
    stage.bpfctl("map", "set", "ddos/block_v6", network.BLOCKED_PREFIX6, str(RULE))
    port = f"protocol=17 port={BLOCKED_PORT}"
    stage.bpfctl("map", "set", "ddos/ports", port, "PORT_BLOCKED")
    senders = [
        ("allowed", network.ALLOWED, PORT, 400, "PASSED"),
        ("allowed6", network.ALLOWED6, PORT, 100, "PASSED"),
        ("blocked", network.BLOCKED, PORT, 300, "BLOCKED_SOURCE_V4"),
        ("blocked6", network.BLOCKED6, PORT, 100, "BLOCKED_SOURCE_V6"),
        ("port", network.ALLOWED, BLOCKED_PORT, 50, "BLOCKED_PORT"),
    ]
    sent: Counter[str] = Counter()
    for name, source, to, count, reason in senders:
        with closing(Flow(stage.place, name, source, to)) as flow:
            flow.send_many(count)
            sent[reason] += flow.sent
    # What is missing after that is judged below.
    settled(lambda: receiver.count() >= sent["PASSED"])
    settled(lambda: total(stage.counters()) >= total(sent))
    rows = [
        (source, to, count, len(receiver.numbers(name)))
        for name, source, to, count, _ in senders
    ]
    stage.bpfctl("map", "dump", "ddos/counters")
    console.say("")
    console.say(", ".join(f"{count} {name}" for name, count in stage.counters().items()))
    console.table(("source", "port", "sent", "received"), rows)
    expect("counters", stage.counters(), sent)
    for name, _, _, count, reason in senders:
        wanted = list(range(count)) if reason == "PASSED" else []
        expect(f"packets received of {name}", receiver.numbers(name), wanted)
    events = stage.drop_events(sum(sent[each] for each in sent if each != "PASSED"))
    told = Counter(event["reason"] for event in events)
    expect("drop events by reason", told, sent - Counter(PASSED=sent["PASSED"]))
    for event in events:
        expect("destination of a drop", event["destination"] in DESTINATIONS, True)
    blocked = [event for event in events if event["source"] == network.BLOCKED]
    expect("drops of the blocked address", len(blocked), 300)
    expect("rules of these drops", {event["rule"] for event in blocked}, {RULE})
