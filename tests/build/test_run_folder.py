"""A new setting with its default value neither renames an old run nor makes its resume another configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from helpers.knees import pairs, table

from kneeal.build.dataset import Cohort, open_cohort
from kneeal.build.run_folder import default_out, find_run_folder, identify, refuse_other_run, run_id, run_name
from kneeal.config import RunConfig, validate
from kneeal.data.prepared import write_prepared
from kneeal.errors import UserError


class LaterConfig(RunConfig):
    """Settings of a later version."""

    new: int = 3


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    data = tmp_path_factory.mktemp("run-folder") / "data"
    write_prepared(data, table(30), pairs(60, 16), source="test", options={}, patch_px=16)
    return open_cohort(validate({"data": {"dir": str(data)}}))


def begin_or_resume(path: Path, config: RunConfig, cohort: Cohort, *, resume: bool) -> None:
    folder = find_run_folder(path, resume=resume)
    refuse_other_run(folder, config, cohort)
    identify(folder, config, cohort)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("written", [[], ["run.json"]])
def test_a_run_that_was_killed_before_it_began_begins_anew(
    tmp_path: Path, cohort: Cohort, written: list[str], resume: bool
) -> None:
    for name in (*written, ".config.yaml.123.tmp", ".lock"):
        (tmp_path / name).write_text("{")
    begin_or_resume(tmp_path, RunConfig(), cohort, resume=resume)
    assert find_run_folder(tmp_path, resume=True).exists


def test_a_new_setting_renames_a_run_only_where_it_is_used(cohort: Cohort) -> None:
    old, new = RunConfig(seed=4), LaterConfig(seed=4)
    assert run_name(new) == run_name(old) and default_out(new) == default_out(old)
    assert run_id(new, cohort) == run_id(old, cohort)
    used = LaterConfig(seed=4, new=5)
    assert run_name(used) != run_name(old) and run_id(used, cohort) != run_id(old, cohort)
    assert run_name(old, "here") != run_name(old, "there")


def test_a_run_without_a_new_setting_resumes_with_its_default(tmp_path: Path, cohort: Cohort) -> None:
    config = validate({"data": {"dir": str(cohort.dataset.path)}, "training": {"epochs": 7}})
    begin_or_resume(tmp_path, config, cohort, resume=False)
    (tmp_path / "start").mkdir()
    tree = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del tree["training"]["validate_every"], tree["posterior"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    begin_or_resume(tmp_path, config, cohort, resume=True)
    other = config.model_copy(update={"training": config.training.model_copy(update={"validate_every": 2})})
    with pytest.raises(UserError, match="validate_every") as error:
        begin_or_resume(tmp_path, other, cohort, resume=True)
    assert "--out" not in error.value.cure  # `kneeal ask RUN` has no such option


def test_a_resume_with_another_number_of_devices_is_refused(tmp_path: Path, cohort: Cohort) -> None:
    config = validate({"data": {"dir": str(cohort.dataset.path)}})
    begin_or_resume(tmp_path, config, cohort, resume=False)
    (tmp_path / "start").mkdir()
    two = validate({"data": {"dir": str(cohort.dataset.path)}, "compute": {"devices": 2}})
    with pytest.raises(UserError, match=r"compute\.devices \(1 there, 2 now\)"):
        begin_or_resume(tmp_path, two, cohort, resume=True)
