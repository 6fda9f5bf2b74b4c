"""Versions of what makes a row: its metrics, their intervals, and what draws its images. They are its columns version.*.

A row from before there were such columns counts as version 1 of everything that it holds. Versions other than 1 are part
of a job's key, so that a new metric, at version 1, changes none, and one that computes something else does. Rows of one
`setting`, the key without versions, are of the same job: those of other versions than today's are stale. What has to be
done about them depends on what changed: with other DRAWN versions images are drawn again, else stored ones are measured again.

A row states the version of every metric that it was measured for, also of one that gave no figure. Of such a one nothing can
be stale: where its version has risen since, the row lacks it.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any

from replication import pixels
from replication.diffusion import guidance, sampling
from replication.harness.journal import Record
from replication.metrics import uncertainty
from replication.metrics.metric import Metric, metrics

INTERVAL = "interval"  # of the resampled errors: metrics/uncertainty.py
TIMING = "timing"  # of the medians of times and their intervals: metrics/timing.py
DRAWN = ("sampling", "guidance", "quantizer")  # diffusion/sampling.py, diffusion/guidance.py, pixels.py
COLUMN = "version."


def metric_versions(without: Collection[str], extractor: str) -> dict[str, int]:
    """Today's versions of the intervals, and of every metric but those that need one of these parts of a Material or are
    defined for another extractor.

    An extractor that does not give what a metric needs is not looked at: it is part of a job's identity, and stays as it is.
    """
    found = tuple((metric, metric.version) for metric in metrics())
    return {INTERVAL: uncertainty.VERSION, **_versions(found, frozenset(without), extractor)}


@cache  # by the metrics that there are, and their versions: every key asks
def _versions(found: tuple[tuple[Metric, int], ...], without: frozenset[str], extractor: str) -> Mapping[str, int]:
    defined = ((metric, version) for metric, version in found if metric.extractor in ("", extractor))
    return {metric.name: version for metric, version in defined if without.isdisjoint(metric.needs)}


def drawn_versions(guided: bool) -> dict[str, int]:
    """Today's versions of what the images of a seed hang on; samplers and spacings have theirs in their identities."""
    always = {"sampling": sampling.VERSION, "quantizer": pixels.VERSION}
    return always | ({"guidance": guidance.VERSION} if guided else {})


def raised(versions: Mapping[str, int]) -> dict[str, Any]:
    """What they add to an identity: those that are not 1, under "versions"; nothing where all are. Local ones add nothing."""
    found = {name: version for name, version in versions.items() if version != 1 and name not in local_metrics()}
    return {"versions": found} if found else {}


def local_metrics() -> frozenset[str]:
    """The metrics that another machine may lack, so that a key must not hang on them: those of other packages, and the CLIP
    score, whose files nobody has to have."""
    return _local(metrics())


@cache  # by the metrics that there are: every key asks
def _local(found: tuple[Metric, ...]) -> frozenset[str]:
    foreign = (m for m in found if not type(m).__module__.startswith("replication."))
    return frozenset(m.name for m in (*foreign, *(m for m in found if "prompt_embeddings" in m.needs)))


def version_columns(versions: Mapping[str, int]) -> Record:
    """The columns version.* of a row."""
    return {f"{COLUMN}{name}": version for name, version in versions.items()}


def version_of(record: Record, name: str) -> int | None:
    """The version that a row has of a metric, or of what else made it; None where that had no part in it."""
    if name == "guidance" and record.get("sampling.guidance", "none") == "none":
        return None
    if name not in (INTERVAL, TIMING, *DRAWN) and f"metric.{name}" not in record:
        return None
    return record.get(f"{COLUMN}{name}", 1)


def changes(record: Record, versions: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """(the row's version, today's) of whatever the row has another one of; empty for a row that is not stale."""
    both = {name: (version_of(record, name), now) for name, now in versions.items()}
    return {name: (was, now) for name, (was, now) in both.items() if was is not None and was != now}


def lacking(record: Record, versions: Mapping[str, int]) -> list[str]:
    """The metrics that the row has no figure of, and was not measured for in this version."""
    missing = (name for name in versions if version_of(record, name) is None)
    return [name for name in missing if record.get(f"{COLUMN}{name}") != versions[name]]


def reasons(found: Mapping[str, tuple[int, int]]) -> str:
    """Changes as a reader is shown them: "fd 1 -> 2, sampling 1 -> 2 (drawn again)"."""
    again = dict.fromkeys(DRAWN, " (drawn again)")
    return ", ".join(f"{name} {was} -> {now}{again.get(name, '')}" for name, (was, now) in found.items())


def nearest(records: Iterable[Record], versions: Mapping[str, int]) -> Record | None:
    """Of rows of one setting the one that is nearest to these versions, by what its images were drawn with first."""

    def distance(record: Record) -> tuple[bool, int]:
        changed = changes(record, versions)
        return not changed.keys().isdisjoint(DRAWN), len(changed) + len(lacking(record, versions))

    return min(records, key=distance, default=None)


@cache  # rows are compared column by column
def metric_of(column: str) -> str | None:
    """The metric whose column of a row it is: "metric.fd_infinity_low" is fd_infinity's; None for any other column."""
    group, _, name = column.partition(".")
    owners = [m.name for m in metrics() if group == "metric" and (name == m.name or name.startswith(f"{m.name}_"))]
    return max(owners, key=len, default=None)


def unequal_version(records: Iterable[Record], column: str) -> str:
    """In which versions of its metric rows have a column, "version of fd 1 against 2"; empty where in the same one."""
    if (metric := metric_of(column)) is None:
        return ""
    found = dict.fromkeys(v for record in records if (v := version_of(record, metric)) is not None)
    return f"version of {metric} {' against '.join(map(str, found))}" if len(found) > 1 else ""


def concerning(found: Mapping[str, tuple[int, int]], column: str) -> dict[str, tuple[int, int]]:
    """Those of a row's changes that a column hangs on: of its metric and the intervals, or of its kind, and of the images."""
    metric = metric_of(column)
    names = {metric, INTERVAL, *DRAWN} if metric else {column.partition(".")[0], *DRAWN}
    return {name: change for name, change in found.items() if name in names}
