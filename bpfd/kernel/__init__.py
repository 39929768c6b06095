# SPDX-License-Identifier: Apache-2.0
"""System calls and libbpf: nothing else in the project talks to the kernel."""
