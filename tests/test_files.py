from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kneeal.files import hold

HOLDER = """
import sys
from pathlib import Path
from kneeal.files import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_or_waits_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError), hold(path):
            pass
        with hold(path, on_wait=holder.kill):  # waits, and gets it once the holder is gone
            assert holder.wait(5) != 0
    with hold(path):
        pass
