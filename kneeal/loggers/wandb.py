"""Weights & Biases: one dashboard run for each active-learning run."""

import netrc
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
from numpy.typing import NDArray

from kneeal.errors import reason_of
from kneeal.loop.events import LoopListener, RoundReport

#: The x-axis of everything that is logged once per round.
STEP = "al/n_labeled"
#: Settings that may name places on this machine, or knees.
_PRIVATE = ("data.dir", "model.weights", "training.init", "active.constraints")


@dataclass
class WandbTracker(LoopListener):
    """Logs every finished round; never asks for anything, and never ends a run: an error of W&B ends the logging alone.

    Ids and pictures of knees and paths of this machine are logged only with `knees`.

    What a round logs has the x-axis `al/n_labeled`: metrics (`val/*`, `test/*`, `al/*`), the grades queried, a
    histogram of the test set's uncertainty, and the confusion matrix; with `knees` also a table of the queried knees.
    """

    run_folder: Path  #: The run; W&B's own files go into its folder `wandb`.
    _: KW_ONLY
    #: "auto" is what WANDB_MODE says, else online where there is a key for W&B and its server answers, else offline;
    #: `wandb sync` uploads later.
    mode: Literal["auto", "online", "offline"]
    project: str  #: W&B project.
    entity: str | None  #: W&B user or team.
    group: str  #: Runs to be compared as one line, for example the strategy.
    job_type: str = "fit"  #: W&B job type.
    tags: Sequence[str] = ()  #: W&B tags.
    #: Identifies the run, so that it stays in the same dashboard after a resume. In a W&B sweep the agent's own id
    #: counts.
    run_id: str
    thumbnail: Callable[[str], NDArray[np.uint8]]  #: Knee id to a picture, uint8 [H, W].
    knees: bool = False  #: Whether ids and pictures of knees and paths of this machine are logged.
    _run: Any = field(default=None, init=False)

    def run_started(self, config: Mapping[str, Any], finished: Sequence[RoundReport]) -> None:
        """Open the dashboard run and log the finished rounds that it does not have."""
        with self._errors_printed():
            if not self.knees:
                public = {key: value for key, value in config.items() if key not in _PRIVATE}
                # Of a strategy's file, the name remains.
                config = {k: Path(v).name if isinstance(v, str) and ".py:" in v else v for k, v in public.items()}
            self._run = self._open(config)
            for pattern in ("al/*", "val/*", "test/*"):
                self._run.define_metric(pattern, step_metric=STEP)
            # A run that resumes online knows what it has. An offline segment starts over, so that the last one holds
            # every round; so does each run of a sweep's agent.
            last = self._run.summary.get("al/round", -1)
            if not self._run.disabled:
                upload = f"offline; upload with `wandb sync {Path(self._run.dir).parent}`" if self._run.offline else ""
                print(f"W&B: {upload or self._run.url}", file=sys.stderr)
            for report in finished:
                if report.round > last:
                    self.round_finished(report)

    def round_finished(self, report: RoundReport) -> None:
        """Log a round."""
        with self._errors_printed():
            if self._run is not None:
                self._run.log(self._row(report))

    def run_ended(self, error: BaseException | None) -> None:
        """Close the dashboard run, as failed where there is an error."""
        with self._errors_printed():
            if self._run is not None:
                self._run.finish(exit_code=0 if error is None else 1)
        self._run = None

    @contextmanager
    def _errors_printed(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a run of days must not end because of its dashboard
            self._run = None
            print(
                f"W&B stopped ({reason_of(error)}); the run continues, and its folder holds every round",
                file=sys.stderr,
            )

    def _open(self, config: Mapping[str, Any]) -> Any:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        options: dict[str, Any] = {
            "project": self.project,
            "entity": self.entity,
            "group": self.group,
            "job_type": self.job_type,
            "tags": self.tags,
            "name": self.run_folder.name,
            "id": self.run_id,
            "resume": "allow",
            "dir": str(self.run_folder),
            "config": dict(config),
        }
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
            init_timeout=30,
        )
        mode = self._mode()
        try:
            return wandb.init(mode=mode, settings=settings, **options)
        except Exception as error:  # the library's own, and those of the network
            if mode != "online":
                raise
            print(f"W&B is out of reach ({reason_of(error)}); logging offline", file=sys.stderr)
            wandb.teardown()  # which still holds the run's id
            return wandb.init(mode="offline", settings=settings, **options)

    def _mode(self) -> Any:
        if self.mode != "auto":
            return self.mode
        if mode := os.environ.get("WANDB_MODE"):
            return {"dryrun": "offline", "run": "online"}.get(mode, mode)
        return "online" if has_key() and _is_up(base_url()) else "offline"

    def _row(self, report: RoundReport) -> dict[str, Any]:
        import wandb

        row: dict[str, Any] = {
            STEP: report.n_labeled,
            "al/round": report.round,
            "al/n_graded": report.n_graded,
            "al/n_pseudo": report.n_pseudo,
            "al/n_pool": report.n_pool,
            **{f"al/{name}_seconds": value for name, value in report.seconds.items()},
            **{name.replace("_", "/", 1): value for name, value in report.metrics.items()},
            "test/uncertainty": wandb.Histogram(list(report.uncertainty), num_bins=32),
            "test/confusion": wandb.Table(
                columns=["kl", *(f"predicted_{grade}" for grade in range(len(report.confusion)))],
                data=[[grade, *row] for grade, row in enumerate(report.confusion)],
            ),
        }
        if report.answers:
            grades = list(report.answers.values())
            row |= {f"al/queried_grade_{grade}": grades.count(grade) for grade in range(len(report.confusion))}
        if report.answers and self.knees:
            pictures = {
                i: wandb.Image(
                    self.thumbnail(i),
                    caption=f"{i}  score {report.scores.get(i, float('nan')):.3f}  KL {report.answers[i]}",
                )
                for i in report.query
            }
            row["al/query"] = wandb.Table(
                columns=["knee_id", "knee", "score", "kl"],
                data=[[i, pictures[i], report.scores.get(i, float("nan")), report.answers[i]] for i in report.query],
            )
            # The table keeps its pictures in an artifact; these lie next to the log, so that an offline run has them.
            row["al/query_knees"] = list(pictures.values())
        return row


def has_key() -> bool:
    """Whether W&B can sign in without asking."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    server = urlsplit(base_url())
    # With and without the port, as versions of W&B differ; its own server stands behind a name of the provider too.
    machines = {server.netloc, server.hostname or ""}
    if (server.hostname or "").endswith((".wandb.ai", "forge.coreweave.com")):
        machines |= {"api.wandb.ai", "api.forge.coreweave.com"}
    try:
        known = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return bool(machines & known.keys())


def base_url() -> str:
    """The address of the W&B server."""
    import wandb

    return str(wandb.setup().settings.base_url)


def _is_up(url: str) -> bool:
    """Whether a server takes connections; W&B itself would try for a minute and a half."""
    server = urlsplit(url)
    if getproxies().get(server.scheme):
        return True  # the proxy knows
    try:
        address = (server.hostname or "", server.port or (443 if server.scheme == "https" else 80))
        socket.create_connection(address, timeout=5.0).close()
    except OSError:
        return False
    return True
