"""From a configuration to the folder of its run."""

from pathlib import Path
from typing import Any

from kneeal import __version__
from kneeal.build.dataset import Cohort
from kneeal.config import RunConfig, identity, to_yaml, validate
from kneeal.data.prepared import digest
from kneeal.errors import UserError
from kneeal.loop.folder import CONFIG, LOCK, RUN, RunFolder
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


def open_run_folder(out: Path, config: RunConfig, cohort: Cohort, *, resume: bool, writer: bool = True) -> RunWriter:
    """Begin a run folder, or with `resume` continue one with the same configuration and data.

    A folder that holds only a configuration counts as new: its run was refused before it began. Only a `writer` writes.
    """
    folder = RunWriter(out, active=writer)
    occupied = out.is_file() or (out.is_dir() and any(path.name not in (CONFIG, RUN, LOCK) for path in out.iterdir()))
    if folder.exists and occupied:
        if writer and not resume:
            raise UserError(
                f"{out} already holds a run", "a new folder", "add --resume to continue it, or give another --out"
            )
        refuse_other_run(folder, config, cohort)
    elif occupied:
        raise UserError(f"{out} is not empty and holds no run", "a new or empty folder, or a run", "give another --out")
    folder.write_json(
        out / RUN,
        {
            "kneeal": __version__,
            "dataset": cohort.dataset.fingerprint,
            "validation": config.data.validation,
            "free_grades": len(cohort.splits.val),
        },
    )
    folder.write_text(out / CONFIG, to_yaml(config))
    return folder


def refuse_other_run(folder: RunFolder, config: RunConfig, cohort: Cohort) -> None:
    """Refuse a configuration or a data set other than those of a run."""
    before, now = identity(validate(folder.config())), identity(config)
    differing = [
        f"{key} ({before.get(key)!r} there, {now.get(key)!r} now)" for key in now if before.get(key) != now[key]
    ]
    if differing:
        raise UserError(
            f"{folder.path} belongs to another configuration: {', '.join(differing)}",
            "the configuration that the run was started with",
            "give the same options, or another --out",
        )
    if folder.dataset() not in ("", cohort.dataset.fingerprint):
        raise UserError(
            f"{folder.path} belongs to another data set than {config.data.dir}",
            "the data set that the run was started with",
            "give the same --data, or another --out",
        )
