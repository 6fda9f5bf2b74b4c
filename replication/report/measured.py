"""What `replicate measure` prints: figures with their intervals, how they were measured, and what is not known of that."""

from collections.abc import Mapping, Sequence

from replication.harness.journal import Record
from replication.harness.published import PublishedValue
from replication.harness.subjects import NOT_KNOWN, Measured
from replication.harness.table import Column
from replication.metrics.frechet import ENOUGH
from replication.metrics.metric import Metric, metrics
from replication.metrics.moments import NO_INTERVAL
from replication.metrics.uncertainty import Joint
from replication.report.compare import Resampled, joint
from replication.report.tables import Table
from replication.types import InputError

Pairs = Mapping[str, Joint]  # by metric


def joint_figures(one: Measured, other: Measured) -> Pairs:
    """Every figure that both have from the same resamples; the images need not correspond, the reference does.

    Raises InputError where the resamples are not the same.
    """
    first, second = one.replicates, other.replicates
    if first is None or second is None or first.stream != second.stream:
        raise InputError(f"{one.record['images']} and {other.record['images']} were not resampled alike")
    rows = Resampled(one.record, first), Resampled(other.record, second)
    found = {column.removeprefix("metric."): joint(*rows, column) for column in first.values}
    return {name: pair for name, pair in found.items() if pair is not None}


def joint_record(pairs: Pairs) -> Record:
    """Columns of a comparison: for each figure the second's difference from the first, and its ratio to it."""
    record: Record = {}
    for name, pair in pairs.items():
        for what, bounds in (("difference", pair.difference), ("ratio", pair.ratio)):
            ends = zip(("", "_low", "_high"), bounds or (), strict=False)
            record |= {f"{what}.{name}{end}": value for end, value in ends}
        record[f"correlation.{name}"] = pair.correlation
    return record


def printed(one: Measured, other: Measured | None, pairs: Pairs, papers: Sequence[PublishedValue] = ()) -> str:
    """For a reader: a table of the figures, of both sets where there are two, and the protocol below it.

    Beside a figure of the first set stand the `papers`' values of it.
    """
    shown = [metric for metric in metrics() if metric.column in one.record]
    lines = [{**_line(metric, one, other, pairs.get(metric.name)), **_beside(metric, papers)} for metric in shown]
    blocks = [str(Table.of(lines)), *_lacking(one), _protocol(one.record)]
    blocks += [note for m in (one, other) if m for note in m.record["notes"]]
    return "\n\n".join(blocks)


def _line(metric: Metric, one: Measured, other: Measured | None, pair: Joint | None) -> dict[str, str]:
    column = Column(metric.heading, metric.column, metric.form, metric.scale, metric.spread)
    line = {"figure": metric.heading.format_map(one.labels)}
    if other is None:
        return {**line, "value [95 %]": column.text(one.record), "better": metric.direction}
    sets = {f"{i}: {m.record['images']}": column.text(m.record) for i, m in enumerate((one, other), 1)}
    return {**line, **sets, "better": metric.direction, **_paired(metric, pair)}


def _beside(metric: Metric, papers: Sequence[PublishedValue]) -> dict[str, str]:
    """What is printed of the same images, and where."""
    if not papers:
        return {}
    own = [
        f"{value.value:{metric.paper_form}} ({value.paper}, {value.table})"
        for value in papers
        if value.metric == metric.name
    ]
    return {"printed": "; ".join(own)}


def _paired(metric: Metric, pair: Joint | None) -> dict[str, str]:
    if pair is None:
        return {"2 less 1 [95 %]": "", "2 / 1 [95 %]": "", "r": ""}
    move, low, high = (value * metric.scale for value in pair.difference)
    ratio = "{:.3g} [{:.3g}, {:.3g}]".format(*pair.ratio) if pair.ratio else ""
    correlation = "" if pair.correlation is None else f"{pair.correlation:.3f}"
    return {"2 less 1 [95 %]": f"{move:+.3g} [{low:+.3g}, {high:+.3g}]", "2 / 1 [95 %]": ratio, "r": correlation}


def _lacking(one: Measured) -> list[str]:
    """Why there is no distance without bias."""
    if "metric.fd_infinity" in one.record or NO_INTERVAL in one.record["protocol.reference"]:
        return []
    needed = ENOUGH * one.record["protocol.features"]
    return [
        f"{one.labels['fd_infinity']} is given from {needed:,} images on, generated and real: {ENOUGH} per feature."
    ]


def _protocol(record: Record) -> str:
    """What the figures stand for, in lines."""
    sha256, version = record["protocol.extractor_sha256"], record["protocol.extractor_version"]
    title = record["protocol.reference"]
    reference = title if NO_INTERVAL in title else f"{record['protocol.reference_n']:,} images of {title}"
    stated = {
        "protocol": record["protocol.name"],
        "images": f"{record['protocol.n']:,} of {record['images']}",
        "reference": f"{reference}, fingerprint {record['protocol.reference_fingerprint'][:16]}",
        "extractor": f"{record['protocol.extractor']}, version {version}, SHA-256 {sha256[:16]}",
        "preprocessing": f"{record['protocol.preprocessing']} (of the reference)",
        "resamples": str(record["protocol.resamples"]),
        **_made(record),
        "differs": "; ".join(record["differs"]) or "in nothing that is known",
    }
    width = max(map(len, stated))
    return "\n".join(f"{key.ljust(width)}  {value}" for key, value in stated.items())


def _made(record: Record) -> dict[str, str]:
    """How the images came to be, as far as it is known."""
    keys = ("seeds", "ema", "quantizer", "labels", "precision")
    made = {key: record[f"protocol.{key}"] for key in keys if record[f"protocol.{key}"] != NOT_KNOWN}
    lacking = f"{', '.join(record['not_known'])}: the images do not tell" if record["not_known"] else ""
    return made | ({NOT_KNOWN: lacking} if lacking else {})
