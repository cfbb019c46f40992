"""Fixtures that the whole suite shares."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
hypothesis.settings.register_profile("kneeal", deadline=None)
hypothesis.settings.load_profile("kneeal")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real radiographs that lie beside the checkout, where they do."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the real radiographs (../shared/data) are not on this machine")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic data set of 120 knees, for modules without one of their own."""
    from helpers.commands import done  # only now: it imports the package, and so what the variables above are for

    path = tmp_path_factory.mktemp("data") / "knees"
    done("demo-data", "--out", path, "--knees", "120")
    return path
