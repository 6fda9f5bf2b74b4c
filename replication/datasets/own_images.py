"""own-images: a user's own photographs, in class folders or not. A title tells several sets apart."""

from pydantic import PositiveInt

from replication.datasets.brought import PREPROCESSING, RESOLUTION, Brought, brought
from replication.datasets.preprocessing import Prepared
from replication.registry import DATASETS

HELD_OUT = 10
TEMPLATES = ("a photo of {a0}", "a picture that shows {a0}", "{a0}", "{0}")


@DATASETS.register("own-images")
def own_images(
    title: str = "",
    classes: PositiveInt = 1,
    resolution: PositiveInt = RESOLUTION,
    preprocessing: Prepared = PREPROCESSING,
) -> Brought:
    """The user's own photographs at any resolution, in as many class folders as there are classes.

    Without test/ one image of ten is held out. Captions are made from the names of the class folders, if there are
    several.
    """
    return brought(
        "own-images",
        tuple(f"class-{k}" for k in range(classes)),
        HELD_OUT,
        resolution,
        preprocessing,
        TEMPLATES if classes > 1 else (),
        title,
    )
