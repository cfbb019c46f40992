"""How long does a reader wait from her last answer to the next query of `kneeal annotate --auto`?

python benchmarks/next_query.py --data knees --images oai_knees

Every answer and the wait go through HTTP, as the page's do. The grades are those of the manifest.
"""

# ruff: noqa: E402

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "speed"), str(Path(__file__).parents[1] / "tests")]

import page
from helpers.commands import done
from helpers.knee_site import Reader, Site

from kneeal.annotate.schema import STORE
from kneeal.annotate.serve import GRACE_SECONDS
from kneeal.annotate.store import Store
from kneeal.build.dataset import open_cohort
from kneeal.config import resolve

PAGE = Path(__file__).parents[1] / "docs" / "annotate.md"


def cpu_seconds(pid: int) -> float:
    """Processor time of the processes that a process has started and that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds that each of the last ten knees is looked at")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    options = parser.parse_args()
    cohort = open_cohort(resolve("frozen", [f"data.dir={options.data}"]))
    waits, spent = [], []
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        (Path(name) / "images").symlink_to(options.images.resolve())
        done("ask", run, "--data", options.data, *(part for s in options.settings for part in ("--set", s)))
        with Site(run, "--reader", "Ann", "--auto") as site:
            ann = Reader(site.port, site.links["Ann"])
            store = Store(run / STORE)
            said = ann.call("GET", "/api/next")[1]
            for number in range(options.rounds):
                before = cpu_seconds(site.process.pid)
                while said["task"] is not None:
                    if said["left"] <= 10:
                        time.sleep(options.pause)
                    query = "SELECT knee_id FROM task JOIN knee ON knee.id = task.knee WHERE task.id = ?"
                    knee_id = store.read(query, (said["task"]["id"],))[0][0]
                    nonce = f"{number:010d}{said['left']:010d}"
                    said = ann.answer(said["task"], cohort.grades[knee_id], nonce)[1]
                start = time.perf_counter()
                while said["task"] is None and said["status"]["phase"] not in ("failed", "finished"):
                    time.sleep(1.0)
                    said = ann.call("GET", "/api/next")[1]
                waits.append(time.perf_counter() - start)
                spent.append(cpu_seconds(site.process.pid) - before)
                assert said["task"] is not None, said
            store.close()
    text = (
        f"Measured with {len(cohort.splits.train):,} training knees: from the last answer to the next knee on the page "
        f"{', '.join(f'{wait:.1f}' for wait in waits)} s in {len(waits)} rounds, {GRACE_SECONDS:g} s of it for undo. "
        f"The training process takes {min(spent):.1f} to {max(spent):.1f} s of processor time, mostly imports before "
        f"the last answer. ({os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}; `make bench-next-query`)"
    )
    print(text)
    page.put(PAGE, "next query", text, by="benchmarks/next_query.py")


if __name__ == "__main__":
    main()
