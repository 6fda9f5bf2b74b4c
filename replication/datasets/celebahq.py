"""celebahq-256: 30,000 faces at 1024x1024 (Karras et al. 2018), as LDM used them: 25,000 to train, 5,000 to test.

LDM's lists of files come with its code's autoencoders (CompVis/taming-transformers); the split here is by content. The
loader beside them resizes by OpenCV's bilinear filter, from 1024 pixels without averaging: a copy of that preparation
is a folder of 256x256 images, which are taken as they are.
"""

from pydantic import PositiveInt

from replication.datasets.brought import RESOLUTION, Brought, brought
from replication.registry import DATASETS


@DATASETS.register("celebahq-256")
def celebahq(resolution: PositiveInt = RESOLUTION) -> Brought:
    """25,000 faces to train, 5,000 held out, 256x256, brought by the user (Karras et al. 2018)."""
    return brought("celebahq-256", ("face",), 6, resolution)
