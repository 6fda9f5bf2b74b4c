"""KID's kernel matrix of many images, block by block: what it takes does not grow with the blocks."""

import os
import subprocess
import sys


def test_blocks_are_given_back_where_freed_memory_is_kept() -> None:
    """A process of a run's, 96 blocks with a product of 16 MB each: at most a quarter of a gigabyte beyond fewer images.

    Catches: what is kept of each block, which lies between freed ones so that the next takes new memory: 2.9 GB here.
    """
    blocks = """
import resource, torch
from replication.memory import keep_freed_memory
from replication.metrics.mmd import _within, cubic
keep_freed_memory()
values, counts = torch.randn(20_000, 8).double(), torch.ones(100, 20_000).double()
_within(values[:4_000], cubic, counts[:, :4_000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
_within(values, cubic, counts)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6)
"""
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "OMP_NUM_THREADS": "1"}
    found = subprocess.run([sys.executable, "-c", blocks], env=own, capture_output=True, text=True, check=True)
    assert float(found.stdout) < 0.25
