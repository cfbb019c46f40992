"""A whole query in a real browser, by keyboard."""

from __future__ import annotations

import os
import random
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
from selenium.webdriver.common.keys import Keys

from kneeal.annotate.schema import STORE
from kneeal.annotate.store import Store

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="there is no chromium with chromedriver on this machine"),
    pytest.mark.timeout(1200),  # a loaded machine needs a minute for the imports of the server alone
]
#: Each test is a reader of its own; all read the same 50 knees.
READERS = (
    "Dr Ann",
    "Dr Ben",
    "Dr Cleo",
    "Dr Dan",
    "Dr Eve",
    "Dr Fay",
    "Dr Gil",
    "Dr Hal",
    "Dr Ida",
    "Dr Jon",
    "Dr Kim",
    "Dr Lea",
    "Dr Mia",
    "Dr Ned",
)
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

    def resize(self, width: int, height: int) -> None:
        self.driver.set_window_size(width, height)
        self.until(lambda: self.driver.execute_script("return innerWidth") == width, f"a page {width} px wide")

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
    with Site(run, *options, "--adjudicator", "Dr Zoe", "--reads", str(len(READERS))) as site:
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


#: Buttons of the answer that are cut off at the right.
OUTSIDE = """
return [...document.querySelectorAll('aside button')].filter((b) => b.offsetWidth
  && b.getBoundingClientRect().right > innerWidth).map((b) => b.textContent);
"""


def test_a_used_link_never_opens_another_readers_page_and_every_answer_fits_on_a_phone(site: Site, page: Page) -> None:
    name = "Dr Ned"
    enter(page, site, name)
    page.driver.get("about:blank")
    page.driver.get(site.address + "#" + site.links[name])
    page.until(lambda: "works once" in page.text("notice"), "the notice")
    page.press("2")
    assert page.view() == "enter"
    page.until(lambda: page.driver.find_elements(By.CSS_SELECTOR, "#view-enter button"), "the button")
    button = page.driver.find_element(By.CSS_SELECTOR, "#view-enter button")
    assert button.text == f"Continue as {name}"
    button.click()
    page.settle()
    assert page.text("notice") == "" and stored(site, name) == []
    for width, height in ((360, 640), (640, 360), (768, 1024)):  # a phone, upright and on its side, and a tablet
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        page.until(lambda width=width: page.driver.execute_script("return innerWidth") == width, "the size")
        assert page.driver.execute_script(OUTSIDE) == []
        assert page.driver.execute_script("return document.getElementById('picture').clientHeight") > 0.4 * height
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_picture_is_worked_with_keys_and_mouse(site: Site, page: Page) -> None:
    name = "Dr Ben"
    script = page.driver.execute_script
    enter(page, site, name)
    assert script("return [viewer.main.width, viewer.main.height]") == [300, 300]  # full resolution
    assert script("return viewer.showBoxes") is False
    page.press("\ue015", "\ue014")  # down, right
    level, width = script("return [viewer.look.level, viewer.look.width]")
    assert level == pytest.approx(0.02) and width > 1
    canvas = page.driver.find_element(By.ID, "picture")
    ActionChains(page.driver).move_to_element(canvas).click_and_hold().move_by_offset(50, 20).release().perform()
    assert script("return viewer.look.width") > width and script("return viewer.look.level") > level
    scale = script("return viewer.scale")
    page.press("+")
    assert script("return viewer.scale") > scale
    page.press("i", "c", "b", "w")
    kept = "return JSON.stringify([viewer.look, viewer.view, viewer.showBoxes])"
    before = script(kept)
    assert '"inverted":true,"contrast":true' in before and '"preset":1' in before
    assert script("return document.querySelector('[data-tool=invert]').getAttribute('aria-pressed')") == "true"
    page.grade("2")
    assert script(kept) == before  # the next knee is looked at in the same way
    page.press("r", "b")
    assert script("return [viewer.look, viewer.view.zoom]") == [
        {"preset": 0, "level": 0, "width": 1, "inverted": False, "contrast": False}, 1
    ]  # fmt: skip
    # 30 px of 110 / 300 mm, by keys alone
    page.press("m", "\ue007", *["\ue014"] * 30, "\ue007")
    assert page.text("measured") == "Measured: 11.0 mm"
    # a named joint space, zoomed in so that a step is a quarter of a pixel; measured again, it replaces the first
    page.press("j", "\ue007", "\ue015", "\ue007", *["+"] * 7, "\ue007", *["\ue015"] * 10, "\ue007")
    medial = script("return viewer.measurements.filter((m) => m.name === 'medial')")
    assert len(medial) == 1 and 0.5 < medial[0]["y1"] - medial[0]["y0"] < 9
    page.press("\ue00c", "r", "x")
    assert script("return viewer.magnifying && viewer.measuring === null")
    page.press("x", "s", "t")
    page.press("p", "4", "o")  # typed, not obeyed
    assert script("return document.getElementById('comment').value") == "p4o"
    page.press("\ue00c")
    page.grade("2")
    assert script("return document.getElementById('opinion').hidden")  # nothing has been predicted yet
    page.settle()
    before = page.ready()
    page.press("2", "2", "2", "2")  # a finger that bounces grades no knee that nobody saw
    page.until(lambda: page.ready() not in ("", before), "the next knee")
    page.settle()
    rows = stored(site, name, "kl, measurements, findings, comment")
    assert len(rows) == 3 and rows[1][2:] == ('["prior surgery"]', "p4o")
    assert '"mm": 11.0' in rows[1][1] and '"name": "medial"' in rows[1][1]


def test_a_click_and_a_space_grade_one_knee(site: Site, page: Page) -> None:
    name = "Dr Eve"
    enter(page, site, name)
    for _ in range(3):
        page.settle()
        before = page.ready()
        page.driver.find_element(By.CSS_SELECTOR, "[data-grade='3']").click()
        page.until(lambda before=before: page.ready() not in ("", before), "the next knee")
        page.settle()
        page.press(" ")
        time.sleep(0.3)
    assert len(stored(site, name)) == 3


def test_what_is_meant_for_one_knee_never_reaches_the_next(site: Site, page: Page) -> None:
    """A double click, a space after it, and a reason or comment that is given while an answer is on its way."""
    name = "Dr Lea"
    enter(page, site, name)
    for n, gap in enumerate((0.1, 0.3, 0.45), 1):
        page.settle()
        before = page.ready()
        find = (
            "const button = document.querySelector(\"[data-grade='3']\"); button.scrollIntoView({block: 'center'}); "
            "const {x, y} = button.getBoundingClientRect(); return [x, y]"
        )
        x, y = page.driver.execute_script(find)
        at = {"x": x + 9, "y": y + 9, "button": "left"}
        page.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **at, "button": "none"})
        for count in (1, 2):
            for kind in ("mousePressed", "mouseReleased"):
                page.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "clickCount": count, **at})
            time.sleep(gap)
        page.until(lambda before=before: page.ready() not in ("", before), "the next knee")
        page.settle()
        page.press(" ")
        time.sleep(0.5)
        assert len(stored(site, name)) == n
    page.settle()
    before = page.ready()
    page.driver.execute_cdp_cmd("Network.enable", {})
    throttle(page, 600, -1)
    page.press("2", "u", "t", "x")
    throttle(page, 0, -1)
    page.until(lambda: page.ready() not in ("", before), "the next knee")
    page.settle()
    page.press("y", Keys.ESCAPE)
    page.press("t", "z", Keys.ESCAPE)
    assert page.driver.execute_script("return document.getElementById('comment').value") == "z"
    page.press("1")
    time.sleep(0.5)
    assert [kl for _, kl, *_ in stored(site, name)][:4] == [3, 3, 3, 2]
    assert not any(reason for _, _, reason, *_ in stored(site, name))


def test_a_knee_whose_picture_fails_is_put_off(site: Site, page: Page) -> None:
    name, images = "Dr Mia", site.run.parent / "images"
    enter(page, site, name)
    images.rename(images.with_name("away"))
    images.mkdir()
    try:
        for _ in range(26):  # the server still has the pictures that others have before them
            page.settle()
            before = page.ready()
            page.press("1")
            page.until(
                lambda before=before: page.ready() not in ("", before) or "Press N" in page.text("stage-note"), "it"
            )
            if not page.ready():
                break
        task = page.driver.execute_script("return state.task.id")
        page.press("n")
        page.until(lambda: page.driver.execute_script("return state.task.id") != task, "another knee")
        page.press("z")
        page.until(lambda: stored(site, name)[-1][3] == 1, "the answer taken back")
    finally:
        images.rmdir()
        images.with_name("away").rename(images)
    page.settle()


#: What a key types, by its place, on keyboards of other countries.
FOREIGN = [("Digit2", "é"), ("Digit3", "ě"), ("Digit1", "+"), ("Digit4", "٤"), ("Numpad0", "0"), ("Digit3", "Dead")]


def test_keys_by_place_and_by_letter(site: Site, page: Page) -> None:
    name = "Dr Fay"
    enter(page, site, name)
    script = page.driver.execute_script
    typed = (
        "document.dispatchEvent(new KeyboardEvent('keydown', {code: arguments[0], key: arguments[1], bubbles: true}))"
    )
    for code, key in FOREIGN:
        page.settle()
        before = page.ready()
        script(typed, code, key)
        page.until(lambda before=before: page.ready() not in ("", before), f"after {code} {key}")
    assert [row[1] for row in stored(site, name)] == [2, 3, 1, 4, 0, 3]
    page.settle()
    for code, key in (("KeyI", "ш"), ("KeyI", "\u0647"), ("KeyW", "i")):  # Cyrillic, Arabic; a layout with I elsewhere
        was = script("return viewer.look.inverted")
        script(typed, code, key)
        assert script("return viewer.look.inverted") is not was
    before = page.ready()
    script(typed, "Digit7", "7"), script(typed, "KeyQ", "й"), script(typed, "Numpad4", "ArrowLeft")
    assert page.ready() == before and len(stored(site, name)) == 6
    # later, and the same knee at the end
    page.press("n")
    page.until(lambda: page.ready() not in ("", before), "the next knee")
    assert len(stored(site, name)) == 6


SHOWN = """
const sum = (layer) => layer ? layer.gray.reduce((a, v, k) => (a * 31 + v + k) % 4294967291, 7) : null;
return [state.task && state.task.id, viewer.drawn && viewer.drawn.task, sum(viewer.main), sum(viewer.companion),
  document.body.dataset.ready];
"""


def throttle(page: Page, latency: int, throughput: int) -> None:
    """A line with this latency in ms and this many bytes a second."""
    line = {"offline": False, "latency": latency, "downloadThroughput": throughput, "uploadThroughput": throughput}
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", line)


def test_sixty_flips_on_a_slow_line_never_show_or_grade_the_wrong_knee(site: Site, page: Page) -> None:
    """`O` and then `O`, `Z`, `N` or a grade 0.15 to 0.7 s later, while pictures take about half a second."""
    name, draw = "Dr Gil", random.Random(15)
    enter(page, site, name)
    page.grade("1")
    page.settle()
    own: dict[int, int] = {}
    page.driver.execute_cdp_cmd("Network.enable", {})
    wrong = graded = 0
    for flip in range(60):
        page.settle()
        task, drawn, first, _, _ = page.driver.execute_script(SHOWN)
        assert task == drawn
        assert own.setdefault(task, first) == first
        delay = draw.choice([0.15, 0.3, 0.5, 0.7])
        slow = {
            "offline": False,
            "latency": draw.choice([100, 300, 500]),
            "downloadThroughput": 40_000,
            "uploadThroughput": 40_000,
        }
        page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
        before, key = len(stored(site, name)), "oozn3"[flip % 5]
        page.press("o")
        time.sleep(delay)
        page.press(key)
        time.sleep(draw.choice([0.1, 0.4]))
        throttle(page, 0, -1)
        page.until(lambda: page.driver.execute_script("return !state.busy"), "the change")
        page.settle()
        time.sleep(0.3)  # for whatever is still under way
        now, drawn, shown, _, ready = page.driver.execute_script(SHOWN)
        wrong += not (now == drawn == int(ready)) or own.get(now, shown) != shown
        if key == "3":
            graded += len(stored(site, name)) - before
            assert stored(site, name)[-1][:2] == (task, 3)
        if page.driver.execute_script("return state.both"):
            page.press("o")
            page.until(lambda: page.driver.execute_script("return !viewer.companion"), "one knee")
    assert wrong == 0 and graded == 12


def test_both_knees_are_shown_beside_each_other(site: Site, page: Page) -> None:
    name = "Dr Hal"
    enter(page, site, name)
    script = page.driver.execute_script
    page.press("o")
    page.until(lambda: script("return Boolean(viewer.companion)"), "both knees")
    sides = script("return [viewer.main.about.side, viewer.companion.about.side, viewer.beside().x > 0]")
    assert sides in (["R", "L", True], ["L", "R", False])  # as on a radiograph
    assert script("return viewer.companion.about.token === undefined && Boolean(viewer.main.about.token)")
    page.grade("2")
    page.until(lambda: script("return Boolean(viewer.companion)"), "both of the next patient")
    assert [row[1] for row in stored(site, name)] == [2]


def test_two_windows_of_one_reader(site: Site, page: Page) -> None:
    name = "Dr Cleo"
    enter(page, site, name)
    other = Reader(site.port)
    [cookie] = [c for c in page.driver.get_cookies() if c["name"].startswith("kneeal_session_")]
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
    other.cookie = f"{cookie['name']}={cookie['value']}"  # her own second window
    other.csrf = other.call("GET", "/api/me")[1]["csrf"]
    task = other.call("GET", "/api/next")[1]["task"]
    assert other.answer(task, 1, "w" * 32)[0] == 200
    before = page.ready()
    page.press("4")  # in the window that does not know
    page.until(lambda: page.ready() not in ("", before), "the next knee")
    assert "answered in another window" in page.text("notice")
    assert [row[1] for row in stored(site, name)] == [1]


def test_another_reader_in_the_same_browser(site: Site, page: Page) -> None:
    enter(page, site, "Dr Ida")
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    page.driver.get(site.address + "#" + site.links["Dr Jon"])
    page.settle()
    page.driver.switch_to.window(first)
    page.press("3")
    page.until(lambda: page.view() == "enter", "the sign-in page")
    assert "Another reader has signed in" in page.text("enter-text")
    assert stored(site, "Dr Ida") == stored(site, "Dr Jon") == []


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
    for width, height in ((1024, 900), (768, 900), (820, 1180), (3840, 2160)):
        page.resize(width, height)
        assert page.driver.execute_script(CONTRAST) == []
        assert page.driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    page.resize(820, 1180)  # a tablet in portrait
    assert page.driver.execute_script("return document.getElementById('picture').clientWidth") == 820
    assert page.driver.execute_script("return document.getElementById('picture').clientHeight") > 450
    page.resize(1024, 768)
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
    for _ in range(40):
        page.press("\ue004")
        reached.add(page.driver.execute_script("return document.activeElement.textContent.trim()"))
    wanted = page.driver.execute_script(
        "return [...document.querySelectorAll('button:enabled')].filter(e => e.checkVisibility())"
        ".map(e => e.textContent.trim())"
    )
    assert set(wanted) <= reached
    page.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    page.driver.get("about:blank")
    page.driver.get(site.address + "#" + site.links["Dr Zoe"])
    page.until(lambda: page.view() == "wait", "the page of an adjudicator who does not read")
    page.driver.find_element(By.ID, "show-agreement").click()
    page.until(lambda: page.view() == "agreement", "the agreement")
    assert page.driver.execute_script(CONTRAST) == []


AXE = Path(os.environ.get("KNEEAL_AXE", Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"))


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not there: npm install axe-core, or KNEEAL_AXE=axe.min.js")
def test_axe_finds_nothing_serious(site: Site, page: Page) -> None:
    def findings() -> list[tuple[str, str, list[str]]]:
        page.driver.execute_script(AXE.read_text(encoding="utf-8"))
        found = page.driver.execute_async_script("axe.run().then(arguments[0])")["violations"]
        return [(f["impact"], f["id"], [node["html"][:120] for node in f["nodes"]]) for f in found
                if f["impact"] in ("serious", "critical", "moderate")]  # fmt: skip

    page.driver.set_script_timeout(300)
    page.driver.get(site.address)
    page.until(lambda: page.view() == "enter", "the sign-in page")
    assert findings() == []
    enter(page, site, "Dr Kim")
    assert findings() == []
    for key in ("u", "?"):
        page.press(key)
        assert findings() == []
        page.press("\ue00c")
    page.press("o")
    page.until(lambda: page.driver.execute_script("return Boolean(viewer.companion)"), "both knees")
    page.resize(820, 1180)
    assert findings() == []
    page.driver.execute_script(
        "turn++; showWait({phase: 'training', accuracy: [[50, 0.4]], progress: {what: 'training', done: 1, of: 9}})"
    )
    assert findings() == []
    page.driver.execute_script("view('agreement')")
    assert findings() == []
