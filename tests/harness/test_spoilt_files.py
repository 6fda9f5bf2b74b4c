"""Whatever lies in a file, its reader reads it or says in one message what is wrong: hypothesis over every kind of input.

`python tests/harness/spoilt_files.py 20000` tries as many by hand.
"""

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from harness.spoilt_files import READERS, outcome

hypothesis = pytest.importorskip("hypothesis")
EXAMPLES = 40


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", READERS)
def test_every_input_is_read_or_refused(kind: str) -> None:
    """Catches: an exception of numpy, Pillow, zipfile, safetensors or json that nobody expected, and a message without a name."""
    seen = set()

    @hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
    @hypothesis.given(seed=hypothesis.strategies.integers(0, 2**32))
    def tried(seed: int) -> None:
        with TemporaryDirectory() as folder:
            said = outcome(kind, Path(folder), Random(seed))
            assert said == "read" or folder in said or "weights from" in said, said
            seen.add(said == "read")

    tried()
    assert seen == {True, False}  # both happen, or it is no test of either
