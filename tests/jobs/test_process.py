"""Memory that a process keeps for its next tensors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kneeal.jobs.process import keep_freed_memory

#: Page faults of taking and giving back some blocks of 64 MB, three times.
FAULTS = """
import resource, sys
import torch
from kneeal.jobs.process import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    assert keep_freed_memory()
def use():
    blocks = [torch.ones(16_000_000) for _ in range(int(sys.argv[2]))]

for _ in range(10):  # until the heap has grown to what is needed
    use()
before = faults()
for _ in range(3):
    use()
print(faults() - before)
"""


# 36 blocks, 2.3 GB, are more than the largest threshold that the C library takes for what it keeps.
@pytest.mark.parametrize("blocks", [1, 36])
def test_freed_tensors_are_used_again(blocks: int) -> None:
    if not keep_freed_memory():
        pytest.skip("no glibc on this system")
    given_back, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, *how], check=True, capture_output=True, text=True).stdout)
        for how in (("plain", "1"), ("keep", str(blocks)))
    )
    assert kept < given_back / 10


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
