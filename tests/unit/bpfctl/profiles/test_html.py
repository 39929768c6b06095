# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from bpfctl.profiles import differential, html, tree
from bpfctl.profiles.html import PageIncomplete
from bpfctl.profiles.model import Frame, Profile, Sample
from hypothesis import given, settings

from tests.unit.bpfctl.profiles import browser, made


def _there() -> bool:
    try:
        return bool(html.libraries())
    except PageIncomplete:
        return False


with_libraries = pytest.mark.skipif(
    not _there(), reason="the page's libraries are not there: make setup fetches them with npm"
)


def data(page: str) -> Any:
    (text,) = re.findall(r'<script type="application/json" id="profile">(.*?)</script>', page)
    return json.loads(text)


def named(page: str) -> list[tuple[int, str, int, int]]:
    """(depth, name, value, own)"""
    found = data(page)
    return [
        (depth, found["functions"][number][0], value, own)
        for depth, number, value, own, *_ in found["nodes"]
    ]


@with_libraries
def test_nodes_of_a_small_profile() -> None:
    page = html.write(tree.of(made.small()))
    assert named(page) == [
        (0, "all", 100, 0),
        (1, "app", 90, 0),
        (2, "main", 90, 0),
        (3, "__libc_read", 15, 0),
        (4, "do_syscall_64", 15, 0),
        (5, "nft_do_chain", 15, 15),
        (3, "app+0x2fff", 5, 5),
        (3, "parse(char const*)", 70, 20),
        (4, "skip_space", 50, 50),
        (1, "node", 10, 0),
        (2, "main", 10, 0),
        (3, "LazyCompile:~handle", 10, 10),
    ]
    kinds = {name: kind for name, _, kind in data(page)["functions"]}
    assert kinds["app"] == html.KINDS["process"]
    assert kinds["nft_do_chain"] == html.KINDS["kernel"]
    assert kinds["skip_space"] == html.KINDS["inlined"]
    assert kinds["LazyCompile:~handle"] == html.KINDS["jit"]
    assert '<p id="missed">Missed: 3 stacks found no room.</p>' in page
    assert "2.5 s &middot; 100 samples" in page


@with_libraries
def test_it_holds_all_that_it_needs() -> None:
    page = html.write(tree.of(made.small()))
    outside = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", page)
    assert outside == []
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'; ")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = re.findall(r"'sha256-([^']*)'", policy)
    assert len(scripts) == 3
    assert [
        base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts
    ] == (hashes)
    for each in html.libraries():
        assert f"{each.name} {each.version} ({each.license})" in page
    assert "Copyright" in page
    assert "Mike Bostock" in page


@with_libraries
@settings(max_examples=30, deadline=None)
@given(made.PROFILES)
def test_any_name_can_stand_in_it(profile: Profile) -> None:
    page = html.write(tree.of(profile))
    found = data(page)
    assert found["nodes"][0][2] == profile.total
    assert page.count("</script>") == 4
    assert page.count("<!--") == 0 or "<!--" not in page.split("<main")[0]


@with_libraries
def test_many_nodes_are_left_out_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "MAX_NODES", 10)
    samples = [Sample((Frame(f"f{n}"),), n + 1) for n in range(50)]
    page = html.write(tree.of(Profile(samples)))
    assert len(named(page)) == 10
    assert named(page)[0] == (0, "all", 50 * 51 // 2, 0)
    assert "41 of 51 frames, each below 3.3 %, are not drawn but count in their callers" in page


@with_libraries
def test_top_functions() -> None:
    page = html.write(tree.of(made.small()))
    rows = re.findall(r'<tr><td class="number">(.*?)</td><td class="number">(.*?)</td>', page)
    assert rows[:3] == [("50.00 %", "50.00 %"), ("20.00 %", "70.00 %"), ("15.00 %", "15.00 %")]


def test_without_its_libraries_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(str(resources.files("bpfctl.profiles.page")))
    shutil.copy(folder / "libraries.toml", tmp_path)
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    with pytest.raises(PageIncomplete, match="scripts/setup-page"):
        html.libraries()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/d3.js").write_text("something else")
    with pytest.raises(PageIncomplete):
        html.libraries()


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_its_script_is_javascript() -> None:
    script = str(resources.files("bpfctl.profiles.page").joinpath("page.js"))
    run = subprocess.run(["node", "--check", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


NAMES = "[...document.querySelectorAll('#chart .d3-flame-graph-label')].map(e => e.textContent)"
FRAME = (
    "[...document.querySelectorAll('#chart g.frame')].find(e => e.getAttribute('name') == '{}')"
)
SEARCH = """new Promise(done => {{
  const box = document.getElementById("search");
  box.value = {term};
  box.dispatchEvent(new Event("input"));
  setTimeout(() => done(document.getElementById("matched").value), 400);
}})"""


def click(page: browser.Page, element: str) -> None:
    page.evaluate(f"{element}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    page.evaluate("new Promise(done => setTimeout(done, 800))")


@with_libraries
@browser.needed
def test_a_browser_draws_searches_and_zooms(tmp_path: Path) -> None:
    file = tmp_path / "profile.html"
    file.write_text(html.write(tree.of(made.small())), "utf-8")
    with browser.opened(file) as page:
        wanted = sorted(name for _, name, _, _ in named(file.read_text("utf-8")))
        assert page.until(f"{NAMES}.sort()", wanted) == wanted
        assert page.evaluate(SEARCH.format(term='"parse"')) == "matched 70.00 % (1 frames)"
        assert page.evaluate(SEARCH.format(term='"/^(main|app)$/"')) == (
            "matched 100.00 % (3 frames)"
        )
        assert page.evaluate(SEARCH.format(term='"nf_tables"')) == "matched 15.00 % (1 frames)"
        click(page, FRAME.format("parse(char const*)"))
        width = "getBoundingClientRect().width"
        whole = page.evaluate(f"document.getElementById('chart').{width}")
        zoomed = page.evaluate(f"{FRAME.format('parse(char const*)')}.{width}")
        assert zoomed == pytest.approx(whole, rel=0.01)
        click(page, "document.getElementById('reset')")
        back = page.evaluate(f"{FRAME.format('parse(char const*)')}.{width}")
        assert back == pytest.approx(0.7 * whole, rel=0.01)
        assert page.said == [file.as_uri()]


@with_libraries
@browser.needed
def test_a_browser_draws_differences(tmp_path: Path) -> None:
    a, b = Frame("a", "/bin/x"), Frame("b", "/bin/x")
    before = Profile([Sample((a,), 30), Sample((b,), 10)])
    after = Profile([Sample((a,), 10), Sample((b,), 10)])
    file = tmp_path / "profile.html"
    file.write_text(html.write(differential.of(before, after)), "utf-8")
    color = "getComputedStyle({}.querySelector('rect')).fill"
    width = "{}.getBoundingClientRect().width / document.getElementById('chart').clientWidth"
    with browser.opened(file) as page:
        red, _, blue = _rgb(page.evaluate(color.format(FRAME.format("b"))))
        assert red > blue
        red, _, blue = _rgb(page.evaluate(color.format(FRAME.format("a"))))
        assert blue > red
        assert page.evaluate(width.format(FRAME.format("a"))) == pytest.approx(0.5, rel=0.01)
        click(page, "document.getElementById('widths')")
        assert page.evaluate(width.format(FRAME.format("a"))) == pytest.approx(0.75, rel=0.01)
        assert page.said == [file.as_uri()]


def _rgb(text: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", text)[:3]]
