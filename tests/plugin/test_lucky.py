"""The plug-in's own tests, as its authors would write them; run by tests/acquisition/test_plugin.py."""

from __future__ import annotations

import pytest

pytest.importorskip("kneeal_lucky", reason="installed by tests/acquisition/test_plugin.py")

from kneeal import acquisition
from kneeal.acquisition import Strategy
from kneeal.acquisition.testing import StrategyContract


class TestLucky(StrategyContract):
    def make(self) -> Strategy:
        return acquisition.get("lucky", number=1.1)
