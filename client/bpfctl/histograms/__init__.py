# SPDX-License-Identifier: Apache-2.0
"""Histograms that programs count in the kernel: merged, summed up, drawn.

    >>> found = from_rows(target.map("biolatency/latencies").rows(), unit="us")
    >>> found[0].percentile(99)

What the slots mean is written down in `bpf/include/bpfd/histogram.h`.
"""

from .model import Histogram, HistogramError, from_rows

__all__ = ["Histogram", "HistogramError", "from_rows"]
