"""A run that is killed twice at random moments ends as if it had not been; see ``tests.chaos``."""

import random
from pathlib import Path

import pytest

from tests.chaos import chaos


@pytest.mark.skipif(not Path("/proc").exists(), reason="its list of processes is Linux's")
def test_a_worker_and_the_whole_job_are_killed(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"python -m tests.chaos --times 2 --seed {seed}")
    chaos(tmp_path, 2, seed)
