# SPDX-License-Identifier: Apache-2.0
"""What the page of a flame graph is made of: page.html, page.css, page.js, and in lib/ what
`scripts/setup-page` fetched."""
