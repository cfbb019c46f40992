"""The plug-in's own tests, as its authors would write them; run by tests/acquisition/test_plugin.py."""

from __future__ import annotations

import pytest

pytest.importorskip("kneeal_lucky", reason="installed by tests/acquisition/test_plugin.py")

from kneeal import acquisition  # noqa: E402
from kneeal.acquisition import Strategy  # noqa: E402
from kneeal.acquisition.testing import StrategyContract  # noqa: E402


class TestLucky(StrategyContract):
    def make(self) -> Strategy:
        return acquisition.get("lucky", number=1.1)
