# SPDX-License-Identifier: Apache-2.0
"""Values of maps, and the daemon's own counters, as one page of OpenMetrics."""
