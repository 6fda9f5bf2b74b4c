"""Extraction streams: measured in a process of its own, whose peak is nothing but this extraction's."""

import subprocess
import sys

# An extractor of Inception's widths whose network is as cheap as filling its output.
PROGRAM = """
import resource, sys
import torch
from replication.metrics.extractor import Extractor

class Wide(Extractor):
    name, family, sha256 = "wide", "wide", "0" * 64
    def _load(self):
        class Network(torch.nn.Module):
            def forward(self, x):
                return tuple(x[:, 0, :1, 0].float().expand(-1, width).contiguous() for width in (2048, 1008, 2023))
        return Network()

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

n, chunk = int(sys.argv[1]), 1000
stream = (torch.full((chunk, 3, 32, 32), i % 256, dtype=torch.uint8) for i in range(n // chunk))
extractor = Wide()
extractor(torch.zeros(300, 3, 32, 32, dtype=torch.uint8))  # what the libraries take at first use is not the stream's
before = peak()
features = extractor(stream, total=n)
size = sum(part.numel() * part.element_size() for part in features.parts().values())
assert features.values[-1, 0] == (n // chunk - 1) % 256
print(size, peak() - before)
"""


def test_memory_is_that_of_the_features() -> None:
    """A stream of 12,000 images takes its features, 244 MB, and 48 MiB at most for chunks and batches; so 50,000, 1,016
    MB, stay within 2 GiB. Catches: batches collected and joined in the end (twice the features), the stream read whole
    first, images kept."""
    n = 12_000
    result = subprocess.run([sys.executable, "-c", PROGRAM, str(n)], capture_output=True, text=True, check=True)
    size, growth = map(int, result.stdout.split())
    assert size == n * (2048 + 1008 + 2023) * 4
    assert growth < size + 48 * 2**20
