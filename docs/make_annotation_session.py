"""A session with pictures for annotate.md: bilateral films, two rounds graded in a browser, a model, its predictions.

python docs/make_annotation_session.py --work /tmp/session --shots docs/annotate

With --data and --images it reads a data set that is there; the true grades of its manifest are the answers.
"""

from __future__ import annotations

import argparse
import csv
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

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1024,860"
)
#: A small network and few knees: the session shows the way, not an accuracy.
SETTINGS = (
    "data.patch_size=32", "model.width=4", "training.epochs=15", "training.milestones=[10]",
    "active.options.n_samples=5", "active.n_init=10", "active.n_query=6", "active.budget=16", "tracking.mode=none",
)  # fmt: skip
PATIENCE = 400.0


def kneeal(*arguments: object) -> None:
    """Run a command and show it."""
    print("$ kneeal", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "kneeal", *map(str, arguments)], check=True)


def make_films(folder: Path, patients: int) -> tuple[Path, Path]:
    """Synthetic bilateral films, prepared; the truth stands in for the finder."""
    from kneeal.archive.generate import write_test_archive
    from kneeal.finder.pose import KneePose

    lines = ["patient_id,side,x1,y1,x2,y2,angle_deg"]
    for patient in write_test_archive(folder / "films", patients=patients, seed=5, mm_per_px=0.2):
        for knee in patient.film.knees:
            x, y = (mm / 0.2 for mm in KneePose(knee.side, knee.middle_mm, knee.angle_deg).region_middle_mm)
            lines.append(f"{patient.patient},{knee.side},{x - 9},{y - 9},{x + 9},{y + 9},{knee.angle_deg}")
    (folder / "landmarks.csv").write_text("\n".join(lines) + "\n")
    kneeal("prepare", "oai", folder / "films", "--out", folder / "knees", "--landmarks", folder / "landmarks.csv")
    return folder / "knees", folder / "films"


class Session:
    """A browser before the page of a run."""

    def __init__(self, run: Path, truth: dict[str, str], work: Path, shots: Path | None) -> None:
        self.run, self.truth, self.shots = run, truth, shots
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for flag in (*FLAGS.split(), f"--user-data-dir={work / 'chromium'}"):
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
        """A screenshot of few colours."""
        if self.shots is None:
            return
        self.shots.mkdir(parents=True, exist_ok=True)
        path = self.shots / f"{name}.png"
        self.driver.save_screenshot(str(path))
        few = Image.open(path).convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)

    def ready(self) -> str:
        """The task that is shown; empty while it loads."""
        return str(self.script("document.body.dataset.ready || ''"))

    def view(self) -> str:
        """Which view is shown."""
        return str(self.script("document.body.dataset.view"))

    def true_grade(self) -> str:
        """The page does not know which knee it shows; the store does."""
        with sqlite3.connect(f"file:{self.run / 'annotate.sqlite'}?mode=ro", uri=True) as store:
            query = "SELECT knee_id FROM knee JOIN task ON task.knee = knee.id WHERE task.id = ?"
            return self.truth[store.execute(query, (int(self.ready()),)).fetchone()[0]]

    def read_query(self) -> int:
        """Grade until nothing is left."""
        n = 0
        while True:
            self.until(lambda: self.view() == "wait" or (self.ready() and self.script("seconds() > 0.2")), "a knee")
            if self.view() == "wait":
                return n
            before = self.ready()
            self.press(self.true_grade())
            self.until(lambda before=before: self.view() == "wait" or self.ready() not in ("", before), "the next knee")
            n += 1

    def look_around(self) -> None:
        """The page's tools on the first knee, each with a picture."""
        self.until(lambda: self.ready() and self.script("seconds() > 0.2"), "the first knee")
        self.shot("reading")
        middle = self.script("viewer.picture.medial || {x: 40, y: 40, width: 40, height: 40}")
        self.script(f"viewer.keep([{middle['x'] + middle['width'] / 2}, {middle['y'] + middle['height'] * 0.42}],"
                    f"[{middle['x'] + middle['width'] / 2}, {middle['y'] + middle['height'] * 0.55}])")  # fmt: skip
        self.press("+", "+", "i")
        self.shot("measuring")
        self.script("viewer.forgetMeasurement()")
        self.press("r", "u")
        self.shot("unreadable")
        self.press("\ue00c")
        self.press("o")
        self.until(lambda: "Other knee" in self.driver.find_element(By.ID, "stage-note").text
                   or self.script("!document.getElementById('notice').hidden"), "the other knee")  # fmt: skip
        self.shot("other-knee")
        self.press("o")
        self.until(lambda: "Other knee" not in self.driver.find_element(By.ID, "stage-note").text, "back")


def main() -> None:
    """The whole session."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--shots", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--patients", type=int, default=40)
    options = parser.parse_args()
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    data, images = options.data, options.images
    if data is None:
        data, images = (
            (work / "knees", work / "films") if (work / "knees").is_dir() else make_films(work, options.patients)
        )
    run = work / "run"
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    kneeal("ask", run, "--data", data, "--strategy", "mi_mcd", "--images", images, "--accelerator", "cpu", *settings)
    with (data / "manifest.csv").open(newline="") as file:
        truth = {row["knee_id"]: row["kl"] for row in csv.DictReader(file)}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve = [
        sys.executable, "-m", "kneeal", "annotate", str(run), "--images", str(images), "--reader", "Dr Ann",
        "--repeat", "0.3", "--auto", "--port", str(port),
    ]  # fmt: skip
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    session = Session(run, truth, work, options.shots)
    try:
        assert server.stdout is not None
        link = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+#\S+", line)))

        def up() -> bool:
            with socket.socket() as knock:
                return knock.connect_ex(("127.0.0.1", port)) == 0

        session.until(up, "the server")
        session.driver.get(link)
        session.look_around()
        print(f"round 1: {session.read_query()} readings", flush=True)
        session.until(lambda: session.view() == "read" or session.script("!document.getElementById('wait-bar').hidden"),
                      "training")  # fmt: skip
        session.shot("training")
        session.until(lambda: session.view() == "read", "the second query")
        session.shot("second-query")
        print(f"round 2: {session.read_query()} readings", flush=True)
        finished = "document.getElementById('wait-title').textContent === 'The budget is spent'"
        session.until(lambda: session.script(finished), "the end")
        session.shot("finished")
        session.driver.find_element(By.ID, "show-agreement").click()
        session.until(lambda: session.view() == "agreement", "the agreement")
        session.shot("agreement")
    finally:
        session.driver.quit()
        server.terminate()
        server.wait()
    kneeal("annotate", run, "--table", work / "readings.csv")
    kneeal("export", run, "--out", work / "model.safetensors")
    kneeal("predict", work / "model.safetensors", "--data", data, "--out", work / "predictions")
    print((work / "predictions" / "predictions.csv").read_text()[:600])


if __name__ == "__main__":
    main()
