"""lsun-churches-256 and lsun-bedrooms-256: two categories of LSUN (Yu et al. 2015), with 256 pixels on the shorter side.

Prepared as in LDM's loader, the one that "crop, bicubic" is named after. LSUN's own validation split has 300 images of a
category, too few for a distance: a copy that has them in val/ is taken by its word, otherwise 1 % is held out.
"""

from pydantic import PositiveInt

from replication.datasets.brought import RESOLUTION, Brought, brought
from replication.registry import DATASETS

HELD_OUT = 100


@DATASETS.register("lsun-churches-256")
def churches(resolution: PositiveInt = RESOLUTION) -> Brought:
    """LSUN's outdoor churches, 256x256, brought by the user (Yu et al. 2015)."""
    return brought("lsun-churches-256", ("church",), HELD_OUT, resolution)


@DATASETS.register("lsun-bedrooms-256")
def bedrooms(resolution: PositiveInt = RESOLUTION) -> Brought:
    """LSUN's bedrooms, 256x256, brought by the user (Yu et al. 2015)."""
    return brought("lsun-bedrooms-256", ("bedroom",), HELD_OUT, resolution)
