"""An experiment: one TOML file, typed and strict. What is run, what the paper prints, which claims are judged."""

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from replication.files import printable
from replication.harness.experiment_file import read_toml, written_out
from replication.harness.home import catalogue, experiments, experiments_beside, find_experiment, project
from replication.harness.protocol import Protocol
from replication.harness.published import Published, PublishedTable, PublishedValue
from replication.metrics.metric import LEAST_IMAGES
from replication.registry import one_of, unknown
from replication.sampling.generation import Guidance
from replication.settings import Line, Part, Settings
from replication.training.first_stage import FirstStage
from replication.training.recipe import Recipe
from replication.types import InputError

Size = Literal["cpu", "evening", "gpu", "paper"]
SIZES: tuple[str, ...] = get_args(Size)  # from the smallest to the paper's own budget
SHOWN = 200  # characters of a value in a message
ProfileName = Annotated[str, Field(pattern="^[a-z0-9-]+$")]


class Replicating(Settings):
    """A line of a table that replicates rows of published ones: published = "TABLE", or a list of such."""

    published: list[Published] = []

    @field_validator("published", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Row(Replicating):
    """A line of a table: one sampling rule at several step counts. The file's row changes the profile's recipe and protocol.

    `beside`: the label of a row above it, whose images of the same noise and step count its own are compared with, one by one.
    """

    label: Line
    sampler: Part
    spacing: Part
    steps: Annotated[list[PositiveInt], Field(min_length=1)]
    clip: str
    guidance: Guidance | None = None
    beside: Line | None = None
    nll: str | None = None  # the variance under which the NLL is evaluated; left out: no NLL
    recipe: Recipe
    protocol: Protocol

    def scaled(self, scale: float) -> "Row":
        """One of so small a part of the training and of the images, and of at least as many as can be measured."""
        n, bits = self.protocol.n, self.protocol.nll_images
        fewer = {"n": max(LEAST_IMAGES, math.ceil(n * scale))}
        if self.nll is not None:
            bits = bits or self.recipe.build_dataset().sizes["test"]
            fewer["nll_images"] = max(2, math.ceil(bits * scale))
        return self.with_fields(recipe=self.recipe.scaled(scale), protocol=self.protocol.with_changes(fewer))


class FirstStageRow(FirstStage, Replicating):
    """A line of the table of first stages: its reconstructions of the dataset, by default that of the profile's recipe.

    What it replicates prints its rFID as `fd` at one step.
    """

    dataset: Part | None = None

    @property
    def first_stage(self) -> FirstStage:
        """The first stage itself."""
        return FirstStage.model_validate({name: getattr(self, name) for name in FirstStage.model_fields})


class Profile(Settings):
    """How big a replication is. `batch_size` is a matter of speed and changes no result.

    `first_stages` by name; recipe.first_stage of the profile or of a row is one of them. `counts_as` is the size of a
    profile of another name than a size's: what a claim asks for at least. `scale` is the part of all trainings and images
    that is made, for a rehearsal: `--set scale=0.001`.
    """

    scale: float = Field(default=1.0, gt=0, le=1)
    counts_as: Size | None = None
    first_stages: dict[Line, FirstStageRow] = {}
    recipe: Recipe
    protocol: Protocol
    batch_size: PositiveInt
    rows: Annotated[list[Row], Field(min_length=1)]

    @model_validator(mode="after")
    def _cells_differ(self) -> "Profile":
        for (label, steps), count in Counter((row.label, steps) for row in self.rows for steps in row.steps).items():
            if count > 1:
                raise ValueError(f"row {label!r} is there twice at {steps} steps; give the rows labels of their own")
        return self

    def made(self) -> "Profile":
        """What of it is made, by its `scale`."""
        if self.scale == 1:
            return self
        stages = {name: stage.scaled(self.scale) for name, stage in self.first_stages.items()}
        return self.with_fields(scale=1.0, first_stages=stages, rows=[row.scaled(self.scale) for row in self.rows])


class Experiment(Settings):
    """A file of experiments/; one without profiles holds claims about the rows of others.

    `tables` are the file's own, beside those of experiments/published/. The claims are typed in report/claims/.
    """

    name: str
    title: Line
    papers: list[Line]
    profiles: dict[ProfileName, Profile] = {}
    claims: list[dict[str, Any]] = Field(default=[], alias="claim")
    tables: dict[str, PublishedTable] = {}
    path: Path

    @model_validator(mode="after")
    def _whole(self) -> "Experiment":
        if not self.profiles and not self.claims:
            raise ValueError("there are neither profiles nor claims")
        for name, profile in self.profiles.items():
            if (profile.counts_as is None) != (name in SIZES):
                of = f"one of {', '.join(SIZES)}, and these as themselves"
                raise ValueError(f"profiles.{name}.counts_as: a profile counts as {of}")
        return self

    def profile(self, name: str) -> Profile:
        """The profile of that name; raises InputError for one that this experiment does not have."""
        if not self.profiles:
            raise InputError(f"{self.path.name}: there are claims alone in it, and nothing to run")
        return self.profiles[one_of(f"profile of {self.path.name}", name, self.profiles)].made()

    def published(self, row: Row | FirstStageRow) -> list[PublishedValue]:
        """What is printed for the row at its step counts, the first named first; raises InputError for a wrong name."""
        label, steps = (row.label, row.steps) if isinstance(row, Row) else (row.name, [1])
        return [value for named in row.published for value in named.values(self._every_table, label, steps)]

    @cached_property
    def _every_table(self) -> Mapping[str, PublishedTable]:
        return published_tables(self.tables)


def experiment_names() -> list[str]:
    """The experiments of this project; in a folder without any, those that come with the suite."""
    return sorted(experiments())


def load_experiment(name: str, settings: Mapping[str, str] | None = None, profile: str = "cpu") -> Experiment:
    """Read `name`, a file of experiments/ or a path, with `--set` changes to one profile applied.

    Raises InputError for a missing file, bad TOML, an unknown key, a wrong type: file, key, value, nearest valid name.
    """
    path = Path(name) if name.endswith(".toml") or "/" in name else find_experiment(name)
    if not path.is_file():
        raise InputError(f"{name}: there is no such file")
    if printable(path.stem) != path.stem:
        raise InputError(
            f"{printable(path)}: the name is not UTF-8, and rows and tables carry it: give the file another"
        )
    if settings:
        return _read(path, settings, profile)
    around = (experiments_beside(path), catalogue("protocols"), catalogue("published"))
    files = [path, *(file for found in around for file in found.values() if os.access(file, os.R_OK))]
    return _unchanged(path, tuple(file.read_bytes() for file in files), project())


@cache  # claims name each other's experiments; whatever one may take something from is part of the key
def _unchanged(path: Path, _contents: tuple[bytes, ...], _project: Path) -> Experiment:
    return _read(path, {}, "")


def _read(path: Path, settings: Mapping[str, str], profile: str) -> Experiment:
    content = written_out(path, settings, profile, Row.model_fields)
    for key in {"name", "path"} & content.keys():
        raise InputError(f"{path}: {key}: an experiment is called as its file is; leave the key out")
    if isinstance(own := content.get("tables", {}), dict):
        for name in published_tables().keys() & own.keys():
            raise InputError(f"{path}: tables.{name}: there is a published table of that name: give this one another")
    try:
        return Experiment.model_validate({**content, "name": path.stem, "path": path}, context={})
    except ValidationError as error:
        raise InputError(f"{path}: {explained(error, Experiment)}") from error


class _Tables(Mapping[str, PublishedTable]):
    """An experiment's own, and the files of the catalogue, each read when it is first asked for."""

    def __init__(self, own: Mapping[str, PublishedTable]):
        self._own, self._files, self._read = own, catalogue("published"), dict(own)

    def __getitem__(self, name: str) -> PublishedTable:
        if name not in self._read:
            file = self._files[name]
            self._read[name] = _table(file, file.read_bytes(), project())
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._files, **self._own})

    def __len__(self) -> int:
        return len({*self._files, *self._own})


def published_tables(own: Mapping[str, PublishedTable] | None = None) -> Mapping[str, PublishedTable]:
    """Those of the catalogue and an experiment's own, by name; what is wrong in one raises InputError where it is looked up."""
    return _Tables(own or {})


@cache  # experiments share them; a table names protocols, which are those of the project
def _table(file: Path, _content: bytes, _project: Path) -> PublishedTable:
    try:
        return PublishedTable.model_validate(read_toml(file), context={})
    except ValidationError as error:
        raise InputError(f"{file}: {explained(error, PublishedTable)}") from error


def sibling(experiment: Experiment, name: str) -> Experiment:
    """The experiment of that name beside this one; raises InputError where there is none."""
    return load_experiment(str(find_experiment(name, experiment.path)))


# keys that are written out before a table is typed; any other table has `base` alone
LANGUAGE = {Row: {"base", "grid", "exclude"}, Experiment: {"bases"}}


def explained(error: ValidationError, of: type[Settings], within: str = "") -> str:
    """The first complaint of pydantic about settings `of`, as one sentence: key (below `within`), value, valid names."""
    # a misspelt key is also a missing one; the misspelling is what helps
    problem = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    key = ".".join([*([within] if within else []), *map(str, problem["loc"])])
    if problem["type"] == "extra_forbidden":
        above, _, name = key.rpartition(".")
        return f"{above or 'top level'}: {unknown('key', name, _keys_at(of, problem['loc'][:-1]))}"
    if problem["type"] == "missing":
        return f"{key}: this key is missing"
    message, value = problem["msg"].removeprefix("Value error, "), problem["input"]
    shown = "" if isinstance(value, dict) else f" (the value is {repr(value)[:SHOWN]})"
    return f"{key}: {message[0].lower()}{message[1:]}{shown}"


def _keys_at(settings: type[Settings], location: Sequence[str | int]) -> list[str]:
    """The keys that are valid at a location of a TOML that is read as these settings, sorted."""
    models = [settings]
    for step in location:  # what is no key is an index, the name of a table, or the tag of a union
        fields = [f for model in models for n, f in model.model_fields.items() if step in (n, f.alias)]
        models = [model for field in fields for model in _settings_in(field.annotation)] or models
    stated = {f.alias or n for model in models for n, f in model.model_fields.items()}
    return sorted(stated | LANGUAGE.get(models[0], {"base"}))


def _settings_in(annotation: Any) -> list[type[Settings]]:
    """The settings that a type holds, at any depth; a part takes the keys of its factory, and is left out."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [] if issubclass(annotation, Part) else [annotation]
    return [model for inner in get_args(annotation) for model in _settings_in(inner)]
