"""ffhq-256: 70,000 faces at 1024x1024 (Karras et al. 2019), as LDM used them: 60,000 to train, 10,000 to test.

The notes of celebahq.py about LDM's lists and filter hold here too.
"""

from pydantic import PositiveInt

from replication.datasets.brought import RESOLUTION, Brought, brought
from replication.registry import DATASETS


@DATASETS.register("ffhq-256")
def ffhq(resolution: PositiveInt = RESOLUTION) -> Brought:
    """60,000 faces to train, 10,000 held out, 256x256, brought by the user (Karras et al. 2019)."""
    return brought("ffhq-256", ("face",), 7, resolution)
