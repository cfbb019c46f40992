"""A whole query in a real browser, by keyboard."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the page needs the extra kneeal[annotate]")
selenium = pytest.importorskip("selenium", reason="the browser is driven by selenium")

from helpers.knee_site import Reader, Site, make_run
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from kneeal.annotate.schema import STORE
from kneeal.annotate.store import Store

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="there is no chromium with chromedriver on this machine"),
    pytest.mark.timeout(1200),  # a loaded machine needs a minute for the imports of the server alone
]
#: Each test is a reader of its own; all read the same 50 knees.
READERS = ("Dr Ann", "Dr Ben", "Dr Cleo", "Dr Dan")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1024,900"
)


class Page:
    """What a reader does."""

    def __init__(self, folder: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS.split(), f"--user-data-dir={folder}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))

    def ready(self) -> str:
        return str(self.driver.execute_script("return document.body.dataset.ready || ''"))

    def view(self) -> str:
        return str(self.driver.execute_script("return document.body.dataset.view"))

    def text(self, name: str) -> str:
        return self.driver.find_element(By.ID, name).text

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        end = time.monotonic() + 240
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.03)
        raise AssertionError(f"{what}: {self.view()} {self.text('notice')}")

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def settle(self) -> None:
        """Wait until a knee has been before the reader for a moment."""
        self.until(lambda: self.ready() and self.driver.execute_script("return seconds()") > 0.16, "a knee")

    def grade(self, key: str, *more: str) -> None:
        self.settle()
        before = self.ready()
        self.press(key, *more)
        self.until(lambda: self.view() == "wait" or self.ready() not in ("", before), f"after {key}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    page = Page(tmp_path_factory.mktemp("chromium"))
    yield page
    page.driver.quit()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    options = [part for name in READERS for part in ("--reader", name)]
    run = make_run(tmp_path_factory.mktemp("site"), 50)
    with Site(run, *options, "--adjudicator", "Dr Dan", "--reads", str(len(READERS))) as site:
        yield site


@pytest.fixture
def page(browser: Page) -> Page:
    browser.driver.get("about:blank")
    browser.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})  # delete_all_cookies knows the open page's only
    browser.driver.get_log("browser")
    browser.driver.set_window_size(1024, 900)
    return browser


def enter(page: Page, site: Site, name: str) -> None:
    """Sign a reader in, and wait for her first knee."""
    page.driver.get("about:blank")  # else a new fragment alone loads nothing
    page.driver.get(site.address + "#" + site.links[name])
    page.settle()


def stored(site: Site, name: str, columns: str = "task, kl, reason, undone, replaces") -> list[tuple[Any, ...]]:
    """The answers of a reader, oldest first."""
    store = Store(site.run / STORE)
    try:
        query = (
            f"SELECT {columns} FROM answer JOIN task ON task.id = answer.task JOIN reader ON reader.id = task.reader "
            "WHERE reader.name = ? ORDER BY answer.id"
        )
        return [tuple(row) for row in store.read(query, (name,))]
    finally:
        store.close()


def test_fifty_knees_by_keyboard(site: Site, page: Page) -> None:
    name = "Dr Ann"
    enter(page, site, name)
    assert "#" not in page.driver.current_url  # the secret is gone from the address
    assert page.text("progress") == "0 read, 50 left"
    for k in range(15):
        page.grade(str(k % 5))
    # undo, and another grade
    task, last = stored(site, name, "task, answer.id")[-1]
    before = page.ready()
    page.press("z")
    page.until(lambda: page.ready() not in ("", before), "undo")
    page.grade("3")
    undone = stored(site, name, "answer.id")[-2][0]
    assert stored(site, name)[-2:] == [(task, None, None, 1, last), (task, 3, None, 0, undone)]
    # unreadable, with a reason
    page.settle()
    page.press("u")
    page.grade("3")
    assert stored(site, name)[-1][1:3] == (None, "implant or hardware")
    # reload in the middle: the same knee
    page.settle()
    before = page.ready()
    page.driver.refresh()
    page.settle()
    assert page.ready() == before
    # kill the server in the middle, answer meanwhile, and go on
    page.grade("2")
    page.settle()
    before = page.ready()
    site.kill()
    page.press("4")
    page.until(lambda: "Not saved yet" in page.text("notice"), "the notice")
    assert page.ready() == before  # the page does not move on
    site.start()
    page.until(lambda: page.ready() not in ("", before), "the answer after the restart")
    assert stored(site, name)[-1][1] == 4
    while page.view() != "wait":
        page.grade("1")
    assert page.text("wait-title")
    rows = stored(site, name)
    holding = {task: (kl, reason) for task, kl, reason, *_ in rows}
    assert len(holding) == 50 and len(rows) == 52
    assert [kl for kl, _ in list(holding.values())[:14]] == [k % 5 for k in range(14)]
    severe = [entry for entry in page.driver.get_log("browser") if "net::ERR" not in entry["message"]]
    assert [entry for entry in severe if entry["level"] == "SEVERE"] == []


def test_the_picture_is_worked_with_keys_and_mouse(site: Site, page: Page) -> None:
    name = "Dr Ben"
    script = page.driver.execute_script
    enter(page, site, name)
    assert script("return [viewer.layer.width, viewer.layer.height]") == [300, 300]  # full resolution
    level, width = script("return [viewer.level, viewer.width]")
    page.press("\ue015", "\ue014")  # down, right
    assert script("return [viewer.level, viewer.width]") == [level + 4, width + 6]
    canvas = page.driver.find_element(By.ID, "picture")
    ActionChains(page.driver).move_to_element(canvas).click_and_hold().move_by_offset(50, 20).release().perform()
    assert script("return viewer.width") > width + 6 and script("return viewer.level") > level + 4
    scale = script("return viewer.scale")
    page.press("+")
    assert script("return viewer.scale") > scale
    page.press("i")
    assert script("return viewer.inverted")
    assert script("return document.querySelector('[data-tool=invert]').getAttribute('aria-pressed')") == "true"
    page.press("r")
    assert script("return [viewer.level, viewer.width, viewer.scale, viewer.inverted]") == [
        level, width, scale, False
    ]  # fmt: skip
    # 30 px of 110 / 300 mm, by keys alone
    page.press("m", "\ue007", *["\ue014"] * 30, "\ue007")
    assert page.text("measured") == "Measured: 11.0 mm"
    page.press("m")
    # the other knee is for looking only
    page.press("o")
    page.until(lambda: "Other knee" in page.text("stage-note"), "the other knee")
    page.press("2")
    assert "This is the other knee" in page.text("notice") and stored(site, name) == []
    page.press("o")
    page.until(lambda: "Other knee" not in page.text("stage-note"), "back")
    page.grade("2")
    assert script("return document.getElementById('prediction').open") is False  # hidden by default
    page.settle()
    page.press("p")
    page.until(lambda: script("return document.getElementById('prediction').open"), "the prediction")
    assert "No network has seen this knee" in page.text("prediction")
    page.press("\ue00c")
    page.settle()
    page.press("2", "2", "2", "2")  # a finger that bounces grades no knee that nobody saw
    page.settle()
    assert len(stored(site, name)) == 2
    assert '"mm": 11.0' in stored(site, name, "measurements")[0][0]


def test_two_windows_of_one_reader(site: Site, page: Page) -> None:
    name = "Dr Cleo"
    enter(page, site, name)
    other = Reader(site.port)
    cookie = page.driver.get_cookie("kneeal_session")
    assert cookie is not None and cookie["httpOnly"] and cookie["sameSite"] == "Strict"
    other.cookie = f"kneeal_session={cookie['value']}"  # her own second window
    other.csrf = other.call("GET", "/api/me")[1]["csrf"]
    task = other.call("GET", "/api/next")[1]["task"]
    assert other.answer(task, 1, "w" * 32)[0] == 200
    before = page.ready()
    page.press("4")  # in the window that does not know
    page.until(lambda: page.ready() not in ("", before), "the next knee")
    assert "stale page" in page.text("notice")
    assert [row[1] for row in stored(site, name)] == [1]


CONTRAST = """
const luminance = (c) => { const [r, g, b] = c.map(v => { v /= 255;
  return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const parse = (c) => c.match(/[0-9.]+/g).map(Number);
const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
  if (c.length < 4 || c[3] > 0.5) return c.slice(0, 3); } return [0, 0, 0]; };
const low = [];
for (const e of document.querySelectorAll('body *')) {
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.checkVisibility()) continue;
  const [a, b] = [luminance(parse(getComputedStyle(e).color).slice(0, 3)), luminance(ground(e))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) low.push([e.tagName, e.textContent.trim().slice(0, 30), ratio]);
}
return low;
"""
OUT_OF_SIGHT = """
return [...document.querySelectorAll('#grades button, #unreadable, #undo, #tools button')].filter(e => {
  const r = e.getBoundingClientRect(); return r.bottom > window.innerHeight || r.right > window.innerWidth; }).length;
"""
NAMELESS = """
return [...document.querySelectorAll('button, a, canvas, dialog, section:not(#view-loading)')].filter(e =>
  !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim())).map(e => e.outerHTML);
"""


def test_contrast_names_and_width(site: Site, page: Page) -> None:
    page.driver.get(site.address)
    page.until(lambda: page.view() == "enter", "the sign-in page")
    assert page.driver.execute_script(CONTRAST) == []
    enter(page, site, "Dr Dan")
    for width in (1024, 768):
        page.driver.set_window_size(width, 900)
        assert page.driver.execute_script(CONTRAST) == []
        assert page.driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    page.driver.set_window_size(1024, 768)
    below = page.driver.execute_script(OUT_OF_SIGHT)
    assert below == 0  # all tools in sight
    assert page.driver.execute_script(NAMELESS) == []
    for key in ("u", "?"):
        page.press(key)
        assert page.driver.execute_script("return document.querySelectorAll('dialog[open]').length") == 1
        assert page.driver.execute_script(CONTRAST) == []
        page.press("\ue00c")
    # every button can be reached by Tab alone
    reached = set()
    for _ in range(30):
        page.press("\ue004")
        reached.add(page.driver.execute_script("return document.activeElement.textContent.trim()"))
    wanted = page.driver.execute_script(
        "return [...document.querySelectorAll('button:enabled')].filter(e => e.checkVisibility())"
        ".map(e => e.textContent.trim())"
    )
    assert set(wanted) <= reached
    page.driver.find_element(By.ID, "show-agreement").click()
    page.until(lambda: page.view() == "agreement", "the agreement")
    assert page.driver.execute_script(CONTRAST) == []
