# SPDX-License-Identifier: Apache-2.0
"""One hook per file, each with one `attach()`."""
