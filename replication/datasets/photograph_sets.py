"""The sets of photographs that a user brings: those of LDM and DiT, and the user's own.

FFHQ and CelebA-HQ are split by content here, while LDM's lists of files come with its code's autoencoders
(CompVis/taming-transformers). The loader beside them is "bilinear, crop", from 1024 pixels without averaging.

LSUN is prepared as in LDM's loader, the one that "crop, bicubic" is named after; DDPM's is "crop, lanczos". Its own
validation split has 300 images of a category, too few for a distance: a copy that has them in val/ is taken by its word,
otherwise 1 % is held out.

ImageNet's label k is the k-th synset by name, the order of the networks of LDM, ADM and DiT. Bring val/ in class folders
too: without it 1 % of each class is held out from what the papers trained on. DiT and ADM prepare their images by "box
halving, bicubic, crop"; under LDM's protocol it is "crop, bicubic", though the loader that LDM trained with resizes the
shorter side by OpenCV's bilinear filter and crops at random (ldm/data/imagenet.py and the base that it imports): for
such a training, which says crop = 1.0, bring the set as "bilinear, whole" too.
"""

from pydantic import PositiveInt

from replication.datasets.brought import PREPROCESSING, RESOLUTION, Brought, brought
from replication.datasets.pictures import Stored
from replication.registry import DATASETS
from replication.types import InputError

OWN_TEMPLATES = ("a photo of {a0}", "a picture that shows {a0}", "{a0}", "{0}")


@DATASETS.register("celebahq-256")
def celebahq(resolution: PositiveInt = RESOLUTION, preprocessing: Stored = PREPROCESSING) -> Brought:
    """25,000 faces to train, 5,000 held out, 256x256, brought by the user (Karras et al. 2018)."""
    return brought("celebahq-256", ["face"], 6, resolution, preprocessing, published=30_000)


@DATASETS.register("celeba-64")
def celeba(resolution: PositiveInt = 64, preprocessing: Stored = "celeba crop, bilinear") -> Brought:
    """Aligned faces, 64x64, brought by the user, in train/ and test/ as CelebA splits them (Liu et al. 2015)."""
    return brought("celeba-64", ["face"], 10, resolution, preprocessing, published=202_599)


@DATASETS.register("ffhq-256")
def ffhq(resolution: PositiveInt = RESOLUTION, preprocessing: Stored = PREPROCESSING) -> Brought:
    """60,000 faces to train, 10,000 held out, 256x256, brought by the user (Karras et al. 2019)."""
    return brought("ffhq-256", ["face"], 7, resolution, preprocessing, published=70_000)


@DATASETS.register("lsun-churches-256")
def churches(resolution: PositiveInt = RESOLUTION, preprocessing: Stored = PREPROCESSING) -> Brought:
    """LSUN's outdoor churches, 256x256, brought by the user (Yu et al. 2015)."""
    return brought("lsun-churches-256", ["church"], 100, resolution, preprocessing, published=126_227 + 300)


@DATASETS.register("lsun-bedrooms-256")
def bedrooms(resolution: PositiveInt = RESOLUTION, preprocessing: Stored = PREPROCESSING) -> Brought:
    """LSUN's bedrooms, 256x256, brought by the user (Yu et al. 2015)."""
    return brought("lsun-bedrooms-256", ["bedroom"], 100, resolution, preprocessing, published=3_033_042 + 300)


@DATASETS.register("imagenet-256")
def imagenet(resolution: PositiveInt = RESOLUTION, preprocessing: Stored = PREPROCESSING) -> Brought:
    """1,281,167 photographs of 1,000 classes at 256 or 512, brought by the user (Russakovsky et al. 2015)."""
    return brought(
        "imagenet-256", _numbered(1000), 100, resolution, preprocessing, published=1_281_167 + 50_000, wordnet=True
    )


@DATASETS.register("own-images")
def own_images(
    title: str = "",
    classes: PositiveInt = 1,
    resolution: PositiveInt = RESOLUTION,
    preprocessing: Stored = PREPROCESSING,
    captioned: bool = False,
) -> Brought:
    """The user's own photographs at any resolution, in as many class folders as there are classes.

    Without test/ one image of ten is held out. Captions are made from the names of the class folders, if there are
    several; captioned: NAME.txt beside each photograph NAME holds its own, and there are no classes. A title distinguishes
    several sets.
    """
    if captioned and classes > 1:
        raise InputError(f"own-images: captioned photographs have no classes, and classes is {classes}")
    templates = OWN_TEMPLATES if classes > 1 else ()
    return brought(
        "own-images", _numbered(classes), 10, resolution, preprocessing, templates, title, captioned=captioned
    )


def _numbered(classes: int) -> list[str]:
    """Names of the classes until those of the folders are known."""
    return [f"class-{k}" for k in range(classes)]
