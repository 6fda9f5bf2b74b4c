"""Which dataset and which protocol images from elsewhere are measured under, unless their owner names another."""

from collections.abc import Collection, Mapping

from pydantic import ValidationError

from replication.harness.experiment import explained
from replication.harness.experiment_file import toml_value
from replication.harness.images import ImageSet, Shape, grey_in_colour
from replication.harness.protocol import Protocol, named_protocol
from replication.metrics.metric import OF_SAMPLES
from replication.registry import DATASETS
from replication.settings import Part
from replication.types import InputError

OF_DRAWING = tuple(key for key in OF_SAMPLES if key not in ("n", "extractor"))  # what no image tells of its making
DRAWN = "the images are there already"
DIGITS = (1, 8, 8)  # what the extractor of `suite-digits` takes


def dataset_of(images: ImageSet, named: str | None, option: str) -> Part:
    """The dataset named with that option, or the only one whose images were collected and have this shape."""
    if named is not None:
        return Part(name=named)
    shapes = {name: dataset.shape for name, dataset in DATASETS.built() if not dataset.computed}
    fitting = [name for name, shape in shapes.items() if shape == images.of_image]
    if len(fitting) == 1:
        return Part(name=fitting[0])
    reason = f"{', '.join(fitting)} have" if fitting else "no dataset has"
    hint = "" if fitting else grey_in_colour(images, shapes.values())
    raise InputError(f"{images.path}: {reason} images of shape {list(images.of_image)}; name one with {option}{hint}")


def check_shape(images: ImageSet, shape: Shape, what: str) -> None:
    """Raises InputError unless the images have the shape of those that they are compared with."""
    if images.of_image != shape:
        found = f"images are {list(images.of_image)}, those of {what} are {list(shape)}"
        raise InputError(f"{images.path}: {found}{grey_in_colour(images, [shape])}")


def check_settings(settings: Mapping[str, str], without: Collection[str], why: str) -> None:
    """Raises InputError for a --set that would have no effect: `without` are the keys of a protocol that have none here."""
    for key in settings:
        if (field := key.removeprefix("protocol.").partition(".")[0]) in without:
            raise InputError(f"--set {key}: {why}: protocol.{field} would change nothing")


def protocol_for(shape: Shape, preprocessing: str, named: str | None, settings: Mapping[str, str]) -> Protocol:
    """The named protocol, or the suite's own for images of this shape, with the `protocol.` keys of --set in it.

    Images that are measured by the suite's own may have been prepared in any way. Raises InputError for a wrong name, key
    or value.
    """
    changes = {}
    for key, value in settings.items():
        if not key.startswith("protocol."):
            raise InputError(f"--set {key}: only an experiment has that; of a file, keys of `protocol.` can be changed")
        field = key.removeprefix("protocol.")
        if field in ("name", "source", "note", "changed"):
            raise InputError(
                f"--set {key}: this names a protocol and changes nothing in it; --protocol NAME chooses one"
            )
        changes[field] = toml_value(key, value)
    name = named
    if name is None:
        name = "suite-digits" if shape == DIGITS else "suite"
        changes.setdefault("preprocessing", preprocessing)
    try:
        return named_protocol(name).with_changes(changes)
    except ValidationError as error:
        raise InputError(f"--set {explained(error, Protocol, 'protocol')}") from error
