# SPDX-License-Identifier: Apache-2.0
"""The daemon that loads, attaches and reads BPF programs on a target."""

__version__ = "0.1.0"
