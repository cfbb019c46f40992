"""From a configuration to the folder of its run."""

from pathlib import Path
from typing import Any

from kneeal import __version__
from kneeal.build.dataset import Cohort
from kneeal.config import RunConfig, identity, to_yaml, validate
from kneeal.data.prepared import digest
from kneeal.errors import UserError
from kneeal.files import describe_path
from kneeal.loop.folder import CONFIG, RUN, RunFolder
from kneeal.loop.writer import RunWriter


def run_name(config: RunConfig, data: str | None = None) -> str:
    """The name of a run's folder, a function of what the run computes and not of the time.

    Default values do not enter, so a later version with more settings finds its runs again. `data` is the data set's
    folder, where it distinguishes runs.
    """
    chosen = _differing(config) | ({} if data is None else {"data.dir": data})
    kind = "cr" if config.loss.consistency else "naive"
    strategy = config.active.strategy.rpartition(":")[2]  # file.py:Class
    return f"{strategy}-{kind}-seed{config.seed}-{digest(chosen)[:8]}"


def default_out(config: RunConfig) -> Path:
    """The folder of a run started without --out."""
    return Path("runs") / run_name(config, None if config.data.dir is None else str(Path(config.data.dir).resolve()))


def run_id(config: RunConfig, cohort: Cohort) -> str:
    """Identifies a run of a configuration on a data set, independent of their folders."""
    return digest([_differing(config), cohort.dataset.fingerprint])[:16]


def _differing(config: RunConfig) -> dict[str, Any]:
    """The settings that decide what comes out and that differ from their defaults."""
    defaults = identity(type(config)())
    return {key: value for key, value in identity(config).items() if defaults.get(key, ...) != value}


def find_run_folder(out: Path, *, resume: bool, writer: bool = True) -> RunWriter:
    """A folder that a run can begin in, or with `resume` continue in; nothing is written yet.

    A folder that holds only a configuration counts as new: its run was refused before it began. Only a `writer` writes.
    """
    folder = RunWriter(out, active=writer)
    if out.is_file() or (folder.begun and not folder.exists):
        raise UserError(f"{out} holds no run: {describe_path(out)}", "a new or empty folder, or a run", "give another")
    if folder.begun and writer and not resume:
        raise UserError(
            f"{out} already holds a run", "a new folder", "add --resume to continue it, or give another --out"
        )
    return folder


def identify(folder: RunWriter, config: RunConfig, cohort: Cohort) -> None:
    """Write what identifies a run: its settings and its data set."""
    folder.write_json(
        folder.path / RUN,
        {
            "kneeal": __version__,
            "dataset": cohort.dataset.fingerprint,
            "validation": config.data.validation,
            "free_grades": len(cohort.splits.val),
        },
    )
    folder.write_text(folder.path / CONFIG, to_yaml(config))


def refuse_other_run(folder: RunFolder, config: RunConfig, cohort: Cohort) -> None:
    """Refuse a configuration or a data set other than those of the run in a folder, if one has begun."""
    if not folder.begun:
        return
    before, now = identity(validate(folder.config())), identity(config)
    differing = [
        f"{key} ({before.get(key)!r} there, {now.get(key)!r} now)" for key in now if before.get(key) != now[key]
    ]
    if differing:
        raise UserError(
            f"{folder.path} belongs to another configuration: {', '.join(differing)}",
            "the configuration that the run was started with",
            "leave these options out or give the same ones, or begin a new run in another folder",
        )
    if folder.dataset() not in ("", cohort.dataset.fingerprint):
        raise UserError(
            f"{folder.path} is a run on another data set than {config.data.dir}",
            f"the data set that it was started with ({folder.config()['data']['dir']} at that time)",
            "give that one by --data, or begin a new run in another folder",
        )
