# SPDX-License-Identifier: Apache-2.0
"""Finds and compiles the modules of a bundle.

This package alone runs inside the bundle's own version of Python, which may read another
syntax than the Python that runs `bpfctl`. It imports nothing of the project.
"""
