"""A run opened with its data, for every command that works on an existing run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kneeal.build.dataset import Cohort, open_cohort
from kneeal.build.loop import RunParts, make_parts
from kneeal.build.run_folder import find_run_folder, identify, refuse_other_run
from kneeal.config import RunConfig, resolve, validate
from kneeal.loop.active import ActiveLearningLoop
from kneeal.loop.events import SILENT, FitProgress, LoopListener
from kneeal.loop.writer import RunWriter

#: The configuration of a run by `kneeal ask` that is given none.
DEFAULT_CONFIG = "frozen"


@dataclass(frozen=True)
class OpenRun:
    """A run and its data."""

    path: Path  #: Its folder.
    config: RunConfig  #: Its settings.
    cohort: Cohort  #: Its data set with the splits.
    folder: RunWriter  #: Its files.
    parts: RunParts | None = None  #: All other parts; made when they are needed if None.

    def loop(self, listeners: Sequence[LoopListener] = ()) -> ActiveLearningLoop:
        """The loop, at the point that the folder has reached."""
        return (self.parts or make_parts(self.config, self.cohort)).loop(self.folder, listeners)


def open_run(run: Path, *, data: Path | None = None, read_only: bool = False) -> OpenRun:
    """Open an existing run; `data` is its data set, if that has moved.

    With `read_only`, nothing is written in the folder, not even where the data set is.
    """
    folder = RunWriter(run, active=not read_only)
    folder.check()
    tree = folder.config()
    if data is not None:
        tree = {**tree, "data": {**tree.get("data", {}), "dir": str(data.resolve())}}
    config = validate(tree)
    cohort = open_cohort(config)
    refuse_other_run(folder, config, cohort)
    identify(folder, config, cohort)
    return OpenRun(run, config, cohort, folder)


def begin_run(
    run: Path, source: str | None, settings: Sequence[str], flags: Mapping[str, Any], progress: FitProgress = SILENT
) -> OpenRun:
    """Begin a run, or open the one in the folder if it has the given settings.

    `source`, `settings` and `flags` are those of `kneeal.config.resolve`; without a source, a new run is `frozen`.
    """
    folder = find_run_folder(run, resume=True)
    # Without a source, all other settings are those of the run.
    config = resolve(source or (folder.config() if folder.exists else DEFAULT_CONFIG), settings, flags)
    if config.data.dir is not None:
        # A run may wait for weeks and be continued from another working directory.
        data = config.data.model_copy(update={"dir": str(Path(config.data.dir).resolve())})
        config = config.model_copy(update={"data": data})
    cohort = open_cohort(config)
    refuse_other_run(folder, config, cohort)
    parts = make_parts(config, cohort, progress)  # refuses wrong settings before anything is written
    identify(folder, config, cohort)
    return OpenRun(run, config, cohort, folder, parts)
