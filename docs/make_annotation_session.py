"""A session with pictures for annotate.md: radiographs, two rounds graded in a browser, a model, its predictions.

python docs/make_annotation_session.py --work session --shots docs/annotate

With --data and --images it reads a data set that is there; the true grades of its manifest are the answers.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1024,860"
)
#: Few knees: the session shows the way, not an accuracy.
SETTINGS = ("active.n_init=20", "active.n_query=20", "active.budget=40", "tracking.mode=none")
PATIENCE = 1500.0
#: Headlines of the waiting page when all have read.
DONE = ("All knees have been read. Thank you.", "Training on your grades")


def kneeal(*arguments: object) -> None:
    """Run a command and show it."""
    print("$ kneeal", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "kneeal", *map(str, arguments)], check=True)


def make_radiographs(folder: Path, patients: int) -> None:
    """Synthetic bilateral radiographs, prepared; the truth stands in for the localizer."""
    from helpers.archive import write_test_archive

    from kneeal.localizer.pose import KneePose

    lines = ["patient_id,side,x1,y1,x2,y2,angle_deg"]
    for patient in write_test_archive(folder / "radiographs", patients=patients, seed=5, mm_per_px=0.2):
        for knee in patient.radiograph.knees:
            x, y = (mm / 0.2 for mm in KneePose(knee.side, knee.center_mm, knee.angle_deg).region_center_mm)
            lines.append(f"{patient.patient},{knee.side},{x - 9},{y - 9},{x + 9},{y + 9},{knee.angle_deg}")
    (folder / "landmarks.csv").write_text("\n".join(lines) + "\n")
    kneeal("prepare", "oai", folder / "radiographs", "--out", folder / "knees", "--landmarks", folder / "landmarks.csv")


class Reader:
    """Somebody before the page, in a browser of her own. She sees the grades of the manifest, with slips."""

    def __init__(
        self, name: str, run: Path, truth: dict[str, str], slips: float, work: Path, shots: Path | None
    ) -> None:
        self.name, self.run, self.truth, self.slips, self.shots = name, run, truth, slips, shots
        self.n = 0
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for flag in (*FLAGS.split(), f"--user-data-dir={work / 'chromium' / name.replace(' ', '-')}"):
            options.add_argument(flag)
        service = webdriver.ChromeService(str(shutil.which("chromedriver")))
        self.driver = webdriver.Chrome(options=options, service=service)

    def script(self, text: str) -> Any:
        """The value of an expression in the page."""
        return self.driver.execute_script(f"return {text}")

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for what must come."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: {self.driver.find_element(By.TAG_NAME, 'body').text}")
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        """Press keys."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def shot(self, name: str) -> None:
        """A screenshot of few colors."""
        if self.shots is None:
            return
        self.shots.mkdir(parents=True, exist_ok=True)
        path = self.shots / f"{name}.png"
        self.driver.save_screenshot(str(path))
        few = ImageOps.posterize(Image.open(path).convert("RGB"), 5).quantize(128, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)

    def ready(self) -> str:
        """The task that is shown and may be answered; empty otherwise."""
        return str(self.script("document.body.dataset.ready && seconds() > 0.2 ? document.body.dataset.ready : ''"))

    def title(self) -> str:
        """The headline of the waiting page; empty on the others."""
        waits = "document.body.dataset.view === 'wait'"
        return str(self.script(f"{waits} ? document.getElementById('wait-title').textContent : ''"))

    def grade(self, task: str) -> str:
        """Her answer. The page does not know which knee it shows; the store does."""
        with sqlite3.connect(f"file:{self.run / 'annotate.sqlite'}?mode=ro", uri=True) as store:
            query = "SELECT knee_id, kind FROM knee JOIN task ON task.knee = knee.id WHERE task.id = ?"
            knee, kind = store.execute(query, (int(task),)).fetchone()
        true = int(self.truth[knee])
        draw = random.Random(f"{self.name} {knee} {kind}")
        if kind == "adjudication" or draw.random() >= self.slips:
            return str(true)
        return str(draw.choice([kl for kl in (true - 1, true + 1) if 0 <= kl <= 4]))

    def read_one(self) -> bool:
        """Grade the knee that is shown; whether there was one."""
        task = self.ready()
        if not task:
            return False
        if self.script("!document.getElementById('adjudication').hidden") and not self.script("window.shown"):
            self.shot("adjudication")
            self.script("window.shown = true")
        self.press(self.grade(task))
        self.until(
            lambda: self.title() or self.script("document.body.dataset.ready") not in ("", task), "the next knee"
        )
        self.n += 1
        return True

    def look_around(self) -> None:
        """The page's tools on the first knee, each with a picture."""
        self.until(self.ready, "the first knee")
        self.shot("reading")
        for name in ("medial", "lateral"):
            box = self.script(f"viewer.drawn.{name} || {{x: 40, y: 40, width: 40, height: 40}}")
            x = box["x"] + 0.6 * box["width"]
            self.script(f"viewer.startMeasuring('{name}')")
            self.script(f"viewer.keep([{x}, {box['y'] + 0.46 * box['height']}],"
                        f"[{x}, {box['y'] + 0.55 * box['height']}])")  # fmt: skip
        self.script("viewer.stopMeasuring()")
        self.press("+", "+", "i", "b", "s")
        self.shot("measuring")
        self.press("r", "b", "s")
        self.script("viewer.measurements.splice(0)")
        self.script("showView()")
        self.press("c")
        self.shot("local-contrast")
        self.press("c", "u")
        self.shot("unreadable")
        self.press("\ue00c")
        self.press("o")
        self.until(lambda: self.script("Boolean(viewer.companion)")
                   or self.script("!document.getElementById('notice').hidden"), "the other knee")  # fmt: skip
        self.shot("both-knees")
        self.press("o")
        self.driver.set_window_size(820, 1180)
        self.script("viewer.fit()")
        self.shot("tablet")
        self.driver.set_window_size(1024, 860)
        self.until(self.ready, "the first knee again")


def read_query(readers: list[Reader]) -> None:
    """All readers grade, at once, until nothing is left for any of them."""
    start, before = time.monotonic(), [reader.n for reader in readers]
    while not all(reader.title() in DONE for reader in readers):
        answered = [reader.read_one() for reader in readers]
        if not any(answered):
            time.sleep(0.1)
        if time.monotonic() - start > PATIENCE:
            raise TimeoutError(readers[0].driver.find_element(By.TAG_NAME, "body").text)
    for reader, n in zip(readers, before, strict=True):
        print(f"{reader.name}: {reader.n - n} readings", flush=True)


def main() -> None:
    """The whole session."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--shots", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--slips", type=float, default=0.1, help="share of the readings that are one grade off")
    parser.add_argument("--repeat", default="0.25")
    parser.add_argument("--set", dest="settings", nargs="*", default=SETTINGS)
    options = parser.parse_args()
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    data, images = options.data, options.images
    if data is None:
        data, images = work / "knees", work / "radiographs"
        if not data.is_dir():
            make_radiographs(work, options.patients)
    run = work / "run"
    settings = [part for setting in options.settings for part in ("--set", setting)]
    shown = [] if images is None else ["--images", str(images)]
    kneeal("ask", run, "--data", data, "--strategy", "mi_mcd", *shown, "--accelerator", "cpu", *settings)
    with (data / "manifest.csv").open(newline="") as file:
        truth = {row["knee_id"]: row["kl"] for row in csv.DictReader(file)}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve = [
        sys.executable, "-m", "kneeal", "annotate", str(run), *shown, "--reader", "Dr Ann", "--reader", "Dr Ben",
        "--reads", "2", "--repeat", options.repeat, "--auto", "--port", str(port),
    ]  # fmt: skip
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    readers: list[Reader] = []
    try:
        assert server.stdout is not None
        links = {}
        while len(links) < 2:
            if found := re.match(r"  (.+?) \([a-z ]+\): (http://\S+#\S+)", server.stdout.readline()):
                links[found[1]] = found[2]
        readers.extend(Reader(name, run, truth, options.slips, work, options.shots) for name in links)
        ann = readers[0]

        def up() -> bool:
            with socket.socket() as knock:
                return knock.connect_ex(("127.0.0.1", port)) == 0

        ann.until(up, "the server")
        for reader in readers:
            reader.driver.get(links[reader.name])
        ann.look_around()
        for number in (1, 2):
            start = time.monotonic()
            read_query(readers)
            read = time.monotonic()
            if number == 1:
                ann.until(lambda: ann.ready() or ann.script("document.getElementById('wait-progress').textContent"),
                          "training")  # fmt: skip
                ann.shot("training")
            ann.until(lambda: ann.ready() or ann.script("document.getElementById('wait-text').textContent")
                      == "No more knees are needed.", "the next query")  # fmt: skip
            made = time.monotonic()
            print(f"query {number}: read in {read - start:.0f} s, the next made in {made - read:.0f} s", flush=True)
        ann.shot("finished")
        ann.driver.find_element(By.ID, "show-agreement").click()
        ann.until(lambda: ann.script("document.body.dataset.view") == "agreement", "the agreement")
        ann.shot("agreement")
        print(ann.driver.find_element(By.ID, "tables").text, flush=True)
    finally:
        for reader in readers:
            reader.driver.quit()
        server.terminate()
        server.wait()
    kneeal("annotate", run, "--table", work / "readings.csv")
    kneeal("export", run, "--out", work / "model.safetensors")
    kneeal("predict", work / "model.safetensors", "--data", data, "--out", work / "predictions", "--dicom", *shown)
    print((work / "predictions" / "predictions.csv").read_text()[:600])
    print((run / "rounds.csv").read_text())


if __name__ == "__main__":
    main()
