# SPDX-License-Identifier: Apache-2.0
"""Code of BPF programs as people read it: instructions, source lines, flow, machine code.

Nothing in here speaks to a target: `Program.of` takes what `Programs.Dump` answered.
"""
