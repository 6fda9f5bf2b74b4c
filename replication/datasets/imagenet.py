"""imagenet-256: the 1,281,167 photographs of ILSVRC 2012 in 1,000 classes (Russakovsky et al. 2015), one folder each.

Label k is the k-th synset by name, the order that the networks of LDM, ADM and DiT know. Bring val/ in class folders
too: without it 1 % of each class is held out from what the papers trained on. DiT and ADM prepare their images by "box
halving, bicubic, crop"; under LDM's protocol it is "crop, bicubic", though the loader that LDM trained with resizes the
shorter side by OpenCV's bilinear filter and crops at random (ldm/data/imagenet.py and the base that it imports).
"""

from pydantic import PositiveInt

from replication.datasets.brought import PREPROCESSING, RESOLUTION, Brought, brought
from replication.datasets.preprocessing import Prepared
from replication.registry import DATASETS

CLASSES = tuple(f"class-{k}" for k in range(1000))  # until the synsets' names are known
HELD_OUT = 100


@DATASETS.register("imagenet-256")
def imagenet(resolution: PositiveInt = RESOLUTION, preprocessing: Prepared = PREPROCESSING) -> Brought:
    """1,281,167 photographs of 1,000 classes at 256 or 512, brought by the user (Russakovsky et al. 2015)."""
    return brought("imagenet-256", CLASSES, HELD_OUT, resolution, preprocessing)
