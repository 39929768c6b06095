# SPDX-License-Identifier: Apache-2.0
"""Takes events from the daemon and decodes them in bulk: `client_consumer.py SOCKET MAP`."""

from __future__ import annotations

import json
import sys
import time

from bpfctl.config import LocalTarget
from bpfctl.records import reader
from bpfctl.target import Target


def main(socket: str, name: str) -> None:
    with Target.open("bench", LocalTarget(socket)) as target, target.events(name) as stream:
        decode = reader(target.map(name), "event")
        print("ready", flush=True)
        received = total = sizes = 0
        end = time.monotonic()
        for batch in stream:
            if not batch.count:
                continue
            events = decode.array(batch)
            received += len(events)
            total += int(events["number"].sum())
            sizes += int(events["size"].sum())
            end = time.monotonic()
        losses = stream.losses
    result = {"received": received, "sum": total, "sizes": sizes, "end": end}
    result["lost"] = losses.total
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
