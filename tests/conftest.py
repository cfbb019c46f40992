"""Fixtures that the whole suite shares."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
# No limit in seconds: how long an example takes is a matter of what else the machine does.
hypothesis.settings.register_profile("kneeal", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("kneeal")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Start each test, and the fixtures that it is the first to use, from one random state, whatever ran before."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
        sys.modules["torch"].use_deterministic_algorithms(False)  # as a run in this process leaves them


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
