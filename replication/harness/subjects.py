"""What `replicate measure` measures: sets of images, the reference that they are compared with, and their protocol.

The images are those of a file or a folder, of which nothing is known but the images, or the stored samples of a row.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import ValidationError

from replication.datasets.dataset import Dataset
from replication.download import data_home
from replication.files import expanded, printable
from replication.harness.experiment import explained, load_experiment
from replication.harness.experiment_file import toml_value
from replication.harness.images import ImageSet, Shape, grey_in_colour, open_images
from replication.harness.job import rows_among
from replication.harness.jobs.cell import Cell, cells_of, find_cell
from replication.harness.journal import Record
from replication.harness.measuring import Images, compared, measured
from replication.harness.protocol import Protocol, named_protocol, protocol_names
from replication.harness.references import HANDED, moments_of
from replication.harness.sweep import journal_of
from replication.harness.versions import INTERVAL, metric_versions, version_columns
from replication.harness.workplace import Workplace
from replication.metrics.extractor import Extractor
from replication.metrics.metric import OF_REFERENCE, OF_SAMPLES
from replication.metrics.moments import NO_INTERVAL, arrays_in
from replication.metrics.uncertainty import Replicates
from replication.registry import DATASETS, EXTRACTORS, unknown
from replication.sampling.chunks import SampleSet
from replication.settings import Part
from replication.types import InputError

NOT_KNOWN = "not known"
OF_DRAWING = tuple(key for key in OF_SAMPLES if key not in ("n", "extractor"))  # what no image tells of its making
DRAWN = "the images are there already"
DIGITS = (1, 8, 8)  # what the extractor of `suite-digits` takes


@dataclass(frozen=True, eq=False)
class Subject:
    """Sets of n images each, one for every seed. `protocol` is that which they were drawn for, None where it is not known."""

    title: str
    sets: Sequence[Images]
    shape: Shape
    protocol: Protocol | None = None
    dataset: Part | None = None  # that their model was trained on
    notes: Sequence[str] = ()

    @property
    def n(self) -> int:
        """Images of each set."""
        return self.sets[0].n


@dataclass(frozen=True, eq=False)
class Reference:
    """Real images: a dataset, whose split the protocol names, or whatever lies at a path; or moments, which that path holds."""

    source: Dataset | ImageSet | str  # the name of moments, with or without images beside them
    name: str
    preprocessing: str = "none"

    def title(self, protocol: Protocol) -> str:
        """As the protocol takes it: "cifar10 train", the path, or what moments are of."""
        if isinstance(self.source, str):
            return moments_of(self.source).title
        return self.name if isinstance(self.source, ImageSet) else f"{self.name} {protocol.reference}"

    def fingerprint(self, protocol: Protocol) -> str:
        """SHA-256 of its content."""
        if isinstance(self.source, str):
            return moments_of(self.source).sha256
        return (
            self.source.fingerprint
            if isinstance(self.source, ImageSet)
            else self.source.fingerprints[protocol.reference]
        )


class Measured(NamedTuple):
    """A row of figures and protocol, like that of a cell, and the figures' replicates."""

    record: Record
    replicates: Replicates | None
    labels: Mapping[str, str]  # what each metric is called with the extractor


def subject_of_images(path: Path) -> Subject:
    """The images at the path; raises InputError as open_images does."""
    images = open_images(path)
    jpegs = f"{images.jpegs:,} of the images came as JPEG, which moves distances" if images.jpegs else ""
    title = printable(path)
    notes = [f"{title}: {note}" for note in (images.passed_over, jpegs, images.lying) if note]
    return Subject(title, [images], images.of_image, notes=notes)


def samples_of_row(
    name: str, profile: str, settings: Mapping[str, str], place: Workplace
) -> tuple[Cell, Sequence[SampleSet]]:
    """The cell EXPERIMENT:LABEL:STEPS and its stored samples, a set for each seed, drawn with the weights of its row, or
    with those of one of its recipe.

    Raises InputError for another form, an unknown experiment, row or step count, and for a row that was not run or whose
    images are not there.
    """
    experiment, _, row = name.partition(":")
    label, _, steps = row.rpartition(":")
    if not (label and steps.isdigit()):
        raise InputError(f"{name}: there is no such file or folder, and a row is written as EXPERIMENT:LABEL:STEPS")
    cell = find_cell(cells_of(load_experiment(experiment, settings, profile), profile, check=False), label, int(steps))
    rows = journal_of([cell], place.state).rows()
    own = rows_among([cell], rows).get(cell.key)  # with a key of --set in its protocol it is one that was never run
    tried = [own] if own else [row for row in rows if row.get("recipe.key") == cell.recipe.key]
    sets = next(filter(None, (cell.stored(row, place) for row in tried)), None)
    if sets is None:
        folder = cell.sample_place(cell.protocol.seeds[0], place).folder.parent
        seeds = f"{cell.protocol.n:,} images of the row's weights for each of {len(cell.protocol.seeds)} seeds"
        raise InputError(f"{name}: {seeds} are not stored in {folder}; `replicate run {experiment}` draws them")
    return cell, sets


def subject_of_row(name: str, profile: str, settings: Mapping[str, str], place: Workplace) -> Subject:
    """The stored samples of a row; raises InputError as samples_of_row does."""
    cell, sets = samples_of_row(name, profile, settings, place)
    return Subject(name, sets, cell.recipe.build_dataset().shape, cell.protocol, cell.recipe.dataset)


def reference_of(named: str | None, subject: Subject) -> Reference:
    """What a path or a dataset's name stands for; by default the row's own dataset, or the one whose images have this shape.

    A dataset of photographs is taken at the images' resolution. Raises InputError for what is neither, and for another shape.
    """
    if named is not None and (path := expanded(named, "HOME")).exists():
        if named in DATASETS.names():
            why = f"a dataset is called so, and it lies in this folder too: say ./{named}"
            raise InputError(f"--reference {named}: {why}, or go to another folder for the dataset")
        if path.is_file() and {"mu", "sigma"} <= arrays_in(path):
            return _of_moments(named)
        images = open_images(path)
        check_shape(images, subject.shape, subject.title)
        return Reference(images, printable(named))
    if named in HANDED or (named is not None and (data_home() / "references" / f"{named}.npz").is_file()):
        return _of_moments(named)
    if named is not None and named not in DATASETS.names() and ":" not in named:
        if Path(named).suffix or "/" in named:
            raise InputError(f"--reference {named}: there is no such file or folder")
        raise unknown("reference", named, [*DATASETS.names(), *HANDED])
    part = subject.dataset if named is None else Part(name=named)
    if part is None:
        assert isinstance(subject.sets[0], ImageSet)
        part = dataset_of(subject.sets[0], None, "--reference")
    dataset = part.completed(DATASETS, {"resolution": subject.shape[-1]}).build(DATASETS)
    if dataset.shape != subject.shape:
        found = f"images are {list(subject.shape)}, those of {part} are {list(dataset.shape)}"
        raise InputError(f"{subject.title}: {found}")
    return Reference(dataset, str(part), dataset.preprocessing)


def _of_moments(named: str) -> Reference:
    moments_of(named)  # what cannot be read is found now
    return Reference(named, named)


def check_comparable(one: Subject, other: Subject) -> None:
    """Raises InputError for sets of other numbers of images, or of images of another shape: no resamples are common."""
    pairs = {
        "shape": (list(one.shape), list(other.shape)),
        "sets of images": (len(one.sets), len(other.sets)),
        "n": (one.n, other.n),
    }
    if found := [f"{name} {a} against {b}" for name, (a, b) in pairs.items() if a != b]:
        raise InputError(f"{one.title} and {other.title} can't be compared: {', '.join(found)}")


def protocol_of(subject: Subject, reference: Reference, named: str | None, settings: Mapping[str, str]) -> Protocol:
    """The named protocol, or the row's own, or the suite's, with the `protocol.` keys of --set in it: the row's has them
    already, and its other keys are the experiment's.

    Raises InputError for a wrong name, key or value, and for an extractor that has no weights here or takes other images.
    """
    if subject.protocol is None:
        check_settings(settings, ("n", "nll_images", *OF_DRAWING), DRAWN)
    elif named is not None:
        check_settings(settings, OF_DRAWING, f"the images of {subject.title} were drawn under the row's own protocol")
    check_settings(settings, ("nll_images",), "the bound is not evaluated here")
    given = ("preprocessing", "moments", *([] if isinstance(reference.source, Dataset) else ["reference"]))
    check_settings(settings, given, f"that is stated by the reference, {reference.name}")
    if subject.protocol is not None and named is None:
        protocol = subject.protocol
    else:
        of_row = subject.protocol is not None
        changes = {key: value for key, value in settings.items() if key.startswith("protocol.") or not of_row}
        protocol = protocol_for(subject.shape, reference.preprocessing, named, changes)
    source = reference.source
    if not isinstance(source, str):
        protocol.reference_count(source.n if isinstance(source, ImageSet) else source.sizes[protocol.reference])
    extractor: Extractor = protocol.extractor.build(EXTRACTORS)
    extractor.prepare(torch.empty((1, *subject.shape), dtype=torch.uint8))
    try:
        extractor.ensure()
    except InputError as error:
        raise InputError(f"{error}: --set protocol.extractor=NAME") from error
    return protocol.with_changes(
        {"moments": source} if isinstance(source, str) else {"preprocessing": reference.preprocessing}
    )


def measure(subject: Subject, reference: Reference, protocol: Protocol, place: Workplace) -> Measured:
    """Every metric that images suffice for, under the protocol as far as it is one of measuring, not of drawing."""
    drawn = {key: getattr(subject.protocol, key) for key in OF_DRAWING} if subject.protocol else {}
    # what is known of these images overrides what the protocol states
    protocol = protocol.with_changes({**drawn, "n": subject.n})
    extractor: Extractor = protocol.extractor.build(EXTRACTORS)
    figures, replicates = measured(compared(subject.sets, reference.source, protocol, place), place)
    fields, versions = ("name", *OF_SAMPLES, *OF_REFERENCE, "resamples"), metric_versions((), extractor.name)
    there = {name: v for name, v in versions.items() if name == INTERVAL or f"metric.{name}" in figures}
    record = {
        "images": subject.title,
        **protocol.columns(fields, n=subject.n, resamples=protocol.resamples, reference=reference.title(protocol)),
        **{f"protocol.{key}": NOT_KNOWN for key in not_known(subject)},
        "protocol.reference_fingerprint": reference.fingerprint(protocol),
        "protocol.extractor_sha256": extractor.sha256,
        "protocol.extractor_version": extractor.version,
        **version_columns(there),
        **figures,
        "differs": differences(subject, reference, protocol, extractor),
        "not_known": list(not_known(subject)),
        "notes": list(subject.notes),
    }
    return Measured(record, replicates, extractor.labels)


def not_known(subject: Subject) -> tuple[str, ...]:
    """The keys of a protocol that the images do not tell."""
    return OF_DRAWING if subject.protocol is None else ()


def differences(subject: Subject, reference: Reference, protocol: Protocol, extractor: Extractor) -> list[str]:
    """In what these images are not measured as the protocol of that name states: "n 5000 for 50000".

    What is not known does not count, and a protocol of one's own states nothing else.
    """
    if protocol.name not in protocol_names():
        return []
    found, stated = [], named_protocol(protocol.name)
    for key in (*OF_SAMPLES, *OF_REFERENCE):
        ours, theirs = getattr(protocol, key), getattr(stated, key)
        if key == "seeds":  # whatever they are, their number is known
            ours, theirs = len(subject.sets), len(theirs)
        if ours != theirs and (key == "seeds" or key not in not_known(subject)):
            found.append(f"{'sets of images' if key == 'seeds' else key} {ours} for {theirs}")
    if isinstance(reference.source, ImageSet):
        found.append(f"reference {reference.name} for a dataset's {stated.reference} split")
    if isinstance(reference.source, str):
        found.append(f"{NO_INTERVAL}: {reference.name} has its moments")
    if foreign := extractor.foreign_weights:
        found.append(f"extractor weights {foreign[:8]} for the published ones")
    return found


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
