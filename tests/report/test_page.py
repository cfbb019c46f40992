"""The page in a real browser: no errors, nothing from the network, and every switch works."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.fake_runs import knee_ids, put, write_study

from kneeal.data.prepared import PreparedDataset, write_prepared
from kneeal.errors import UserError
from kneeal.report.drawing import DARK, GRAY, color
from kneeal.report.write import write_report

SETTINGS = {
    "ENT-MCD": ("entropy_mcd", False, 0.5), "ENT-MCD + CR": ("entropy_mcd", True, 0.6),
    "Random </script>": ("random", False, 0.4),
}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page")
    ids = [*knee_ids(100, 9_000_000), *knee_ids(40, 9_100_000)]
    frame = pd.DataFrame({"knee_id": ids, "patient_id": [i[:-2] for i in ids], "side": [i[-1] for i in ids],
                          "site": ["A"] * 100 + ["E"] * 40, "kl": [str(k % 5) for k in range(140)]})  # fmt: skip
    patches = np.random.default_rng(0).integers(0, 255, (140, 2, 16, 16)).astype(np.uint8)
    write_prepared(path / "data", frame, patches, source="test", options={}, patch_px=16)
    write_study(
        path / "study", seeds=2, settings=SETTINGS, n_query=10, n_test=40, n_pool=100,
        data_dir=str(path / "data"), dataset=PreparedDataset.open(path / "data").fingerprint,
    )  # fmt: skip
    write_report([path / "study"], path / "out", n_thumbnails=30)
    return path / "out" / "report.html"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many strategies, and no data set at hand."""
    path = tmp_path_factory.mktemp("large")
    settings = {f"S{k}": (f"strategy{k}", False, 0.3 + 0.02 * k) for k in range(9)}
    settings |= {"Random": ("random", False, 0.3), "Random + CR": ("random", True, 0.3)}
    write_study(path / "study", seeds=1, settings=settings, n_query=10, n_test=40, n_pool=100)
    write_report([path / "study"], path / "out")
    return path / "out" / "report.html"


def data_of(page: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.S).group(1))  # type: ignore[union-attr]
    return found


def test_another_data_set_is_refused_and_one_that_changed_is_left_out(page: Path, tmp_path: Path) -> None:
    study = page.parents[1] / "study"
    frame = pd.DataFrame({"knee_id": ["1_L"], "patient_id": ["1"], "side": ["L"], "site": ["E"], "kl": ["0"]})
    write_prepared(tmp_path / "data", frame, np.zeros((1, 2, 16, 16), np.uint8), source="t", options={}, patch_px=16)
    with pytest.raises(UserError, match="is not the data set that the runs were made of"):
        write_report([study], tmp_path / "out", data=tmp_path / "data")
    run = shutil.copytree(study / "random-naive-seed0", tmp_path / "run")
    tree = yaml.safe_load((run / "config.yaml").read_text())
    put(run / "config.yaml", yaml.safe_dump({**tree, "data": {"dir": str(tmp_path / "data")}}))
    write_report([run], tmp_path / "out")
    assert "is not the one that the runs were made of" in (tmp_path / "out/table.txt").read_text()


def test_it_holds_everything_itself(page: Path) -> None:
    text = page.read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", text)
    assert "@import" not in text and "fetch(" not in text and "XMLHttp" not in text
    assert len(data_of(page)["pictures"]) == 30
    assert "{{" not in text


def test_a_small_test_set_is_warned_of_above_the_curves(page: Path) -> None:
    (notes,) = re.findall(r'<div class="notes">(.*?)</div>', page.read_text(), re.S)
    assert "small test set: the 95 % interval of balanced accuracy may reach ±" in notes and "with KL" in notes


def test_what_a_file_says_is_escaped(page: Path) -> None:
    text = page.read_text()
    assert "Random </script>" not in text and "Random &lt;/script&gt;" in text


def test_the_page_says_what_its_seeds_can_tell(page: Path, large: Path) -> None:
    assert "to find a true difference of 2 points in 4 of 5 studies takes" in page.read_text()
    assert "One seed cannot tell strategies apart" in large.read_text()
    assert "The paper&#39;s claims" not in large.read_text() and "paper's claims" not in large.read_text()


def test_no_color_repeats_and_few_lines_are_on_at_first(large: Path) -> None:
    data = data_of(large)
    colors = {s["label"]: s["color"] for s in data["settings"]}
    assert len({colors[f"S{k}"] for k in range(9)} | {colors["Random"]}) == 10
    assert len({color(k) for k in range(60)} | {GRAY, DARK}) == 62
    on = [data["settings"][k]["label"] for k in data["first"]]
    assert on[-3:] == ["Random", "Random + CR", "Full training set"] and len(on) == 8


def test_validation_grades_stand_beside_the_labels(page: Path) -> None:
    assert {s["validation"] for s in data_of(page)["settings"]} == {"80"}
    assert "grades are used in addition to the labels" in page.read_text()


def test_shares_of_the_pool_are_those_of_the_data_set(page: Path) -> None:
    assert data_of(page)["grades"]["pool"] == pytest.approx([0.2] * 5, abs=0.06)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium (in the extra dev) is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromium-driver are not on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "disable-dev-shm-usage",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as chrome:
        yield chrome


@pytest.fixture
def window(browser: Any) -> Any:
    """The browser as each test finds it, whatever another did to its size and left in its log."""
    browser.set_window_size(1400, 1000)
    browser.get_log("browser")
    return browser


@pytest.fixture
def opened(window: Any, page: Path) -> Any:
    window.get(page.as_uri())
    return window


def find(browser: Any, css: str) -> list[Any]:
    return list(browser.find_elements("css selector", css))


def test_it_loads_without_an_error_and_fits_wide_and_narrow_windows(opened: Any) -> None:
    for width in (1400, 800, 500, 390):
        opened.set_window_size(width, 900)
        inner, needed = opened.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
        assert needed <= inner
    assert len(find(opened, "#curves .curve")) == 4
    assert opened.get_log("browser") == []


def test_the_metric_switches(opened: Any) -> None:
    from selenium.webdriver.support.ui import Select

    before = find(opened, "#table tbody td")[1].text
    Select(find(opened, "#metric")[0]).select_by_visible_text("mean absolute error (grades)")
    assert find(opened, "#table tbody td")[1].text != before
    assert find(opened, "#curves .axis-title")[1].text == "mean absolute error (grades)"
    assert opened.get_log("browser") == []


def test_settings_hide_and_show(opened: Any) -> None:
    button = find(opened, "#legend button")[0]
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert "ENT-MCD" not in [g.get_attribute("data-setting") for g in find(opened, "#curves .curve")]
    find(opened, "#none")[0].click()
    assert find(opened, "#curves .curve") == []
    find(opened, "#all")[0].click()
    assert len(find(opened, "#curves .curve")) == 4
    assert len(find(opened, "#curves .band")) == 3
    find(opened, "#bands")[0].click()
    assert find(opened, "#curves .band") == []
    assert opened.get_log("browser") == []


def test_a_curve_tells_its_numbers_under_the_pointer_and_by_keyboard(opened: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    tip = find(opened, "#tip")[0]
    assert not tip.is_displayed()
    ActionChains(opened).move_to_element(find(opened, "#curves .curve circle")[-1]).perform()
    assert tip.is_displayed() and tip.text.startswith("40 labels")
    assert len(find(opened, "#tip .near")) == 1
    opened.execute_script("document.getElementById('curves').focus()")
    find(opened, "#curves")[0].send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()
    find(opened, "#curves")[0].send_keys(Keys.ARROW_RIGHT)
    assert tip.text.startswith("10 labels")
    assert "ENT-MCD" in find(opened, "#spoken")[0].get_attribute("textContent")
    assert opened.get_log("browser") == []


def test_the_knees_of_each_query(opened: Any, page: Path) -> None:
    from selenium.webdriver.support.ui import Select

    assert len(find(opened, "#knees figure")) == 10
    assert find(opened, "#q-title")[0].text == "first query: 10 knees"
    assert int(find(opened, "#knees .picture")[0].get_property("naturalWidth")) == 112
    find(opened, "#q-next")[0].click()
    assert find(opened, "#q-title")[0].text == "query of round 1: 10 knees"
    query = json.loads((page.parents[1] / "study/entropy_mcd-naive-seed0/rounds/000/query.json").read_text())
    shown = [figure.find_element("css selector", "figcaption span").text for figure in find(opened, "#knees figure")]
    assert shown == query["ids"]
    Select(find(opened, "#q-seed")[0]).select_by_value("1")
    other = json.loads((page.parents[1] / "study/entropy_mcd-naive-seed1/rounds/000/query.json").read_text())
    assert find(opened, "#knees figcaption span")[0].text == other["ids"][0]
    find(opened, "#q-next")[0].click()
    find(opened, "#q-next")[0].click()
    assert not find(opened, "#q-next")[0].is_enabled()
    assert opened.get_log("browser") == []


def test_without_pictures_there_are_no_boxes_for_them(window: Any, large: Path) -> None:
    window.get(large.as_uri())
    assert len(find(window, "#knees figure")) == 10 and find(window, "#knees .picture") == []
    assert len(find(window, "#curves .curve")) == 8
    assert window.get_log("browser") == []


def test_the_axis_does_not_zoom_into_a_point(window: Any, large: Path) -> None:
    window.get(large.as_uri())
    find(window, "#none")[0].click()
    find(window, "#legend button")[0].click()
    ticks = [float(t.text) for t in find(window, "#curves text") if re.fullmatch(r"[\d.]+", t.text)]
    shown = [t for t in ticks if t < 50]  # the others are label counts
    assert find(window, "#curves .chance") and max(shown) - min(shown) >= 15


def test_errors_and_calibration_of_a_setting(opened: Any) -> None:
    from selenium.webdriver.support.ui import Select

    Select(find(opened, "#e-setting")[0]).select_by_visible_text("ENT-MCD + CR")
    rows = [
        [cell.text for cell in row.find_elements("css selector", "td")] for row in find(opened, "#confusion tbody tr")
    ]
    knees = [int(row[-1]) for row in rows]
    assert sum(knees) == 80 and len(rows) == 5  # two seeds of 40 test knees
    assert all(95 <= sum(map(int, row[:-1])) <= 105 for row in rows)
    assert "ECE" in find(opened, "#calibration")[0].text
    assert opened.get_log("browser") == []
