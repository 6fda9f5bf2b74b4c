"""The whole of it: a subject and the choices asked for -> findings, largest move first, and what could not be changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from replication.harness.forensics.choices import CHOICES, Alternative, Choice, Inapplicable
from replication.harness.forensics.laboratory import Laboratory
from replication.harness.forensics.move import Move, Word, moves
from replication.harness.forensics.subject import Subject
from replication.harness.journal import Record
from replication.harness.provenance import provenance
from replication.harness.workplace import Workplace
from replication.registry import DATASETS, EXTRACTORS, unknown
from replication.types import InputError

NOT_CHANGED = "not changed"  # the verdict on a choice that could not be


@dataclass(frozen=True)
class Finding:
    """One choice taken differently, and how far that moved the distance."""

    alternative: Alternative
    move: Move

    @property
    def word(self) -> Word | Literal["noise"]:
        """The verdict; of what is noise by construction, that it is."""
        return "noise" if self.alternative.noise else self.move.word


@dataclass(frozen=True)
class Examination:
    """Findings, largest move first; `missing`: choice and what it needs; `rows`: a record for each of both, for the CSV."""

    findings: list[Finding]
    missing: list[tuple[str, str]]
    rows: list[Record]


def choices_named(names: Sequence[str]) -> list[Choice]:
    """The choices of these names, by default all; raises InputError with the nearest valid name."""
    known = {choice.name: choice for choice in CHOICES}
    for name in names:
        if name not in known:
            raise unknown("choice", name, list(known))
    return [choice for choice in CHOICES if not names or choice.name in names]


def investigate(subject: Subject, choices: Sequence[Choice], place: Workplace) -> Examination:
    """Measure the base and every alternative to it. Raises InputError if data or weights are missing."""
    extractor = subject.base.extractor.build(EXTRACTORS)
    extractor.ensure()
    subject.base.dataset.build(DATASETS).load(subject.base.split)  # before anything is computed
    alternatives: list[Alternative] = []
    missing: list[tuple[str, str]] = []
    for choice in choices:
        try:
            found = list(choice.alternatives(subject.base))
            for alternative in found:
                if alternative.to.cell is not None:
                    alternative.to.cell.check()
            alternatives += found
        except (Inapplicable, InputError) as reason:
            missing.append((choice.name, str(reason)))
    laboratory = Laboratory(subject, place)
    pairs = [laboratory.measure(alternative.to) for alternative in alternatives]
    measured = moves(laboratory.base, pairs, subject.protocol.resamples, place.progress)
    findings = [Finding(alternative, move) for alternative, move in zip(alternatives, measured, strict=True)]
    findings.sort(key=lambda finding: -abs(finding.move.value))
    common = {"title": subject.title, "distance": extractor.labels["fd"], **_common(subject, place)}
    unchanged = [{"choice": name, "verdict": NOT_CHANGED, "because": reason, **common} for name, reason in missing]
    return Examination(findings, missing, [_row(finding, common) for finding in findings] + unchanged)


def _common(subject: Subject, place: Workplace) -> Record:
    """The columns that all findings share: the base's protocol, its cell if it has one, and the provenance."""
    cell, protocol = subject.base.cell, subject.protocol
    if cell is not None:
        about = dict(cell.columns)
    else:
        about = {
            "cell": subject.name,
            "protocol.name": protocol.name,
            "protocol.changed": protocol.changes,
            "protocol.reference": f"{subject.base.dataset} {protocol.reference}",
            "protocol.drop_last": str(protocol.drop_last),
            "protocol.extractor": str(protocol.extractor),
        }
    extractor = protocol.extractor.build(EXTRACTORS).sha256
    shown = {
        "protocol.extractor_sha256": extractor,
        "protocol.n": subject.base.n,
        "protocol.resamples": str(protocol.resamples),
    }
    return {**about, **shown, "protocol.seeds": str(subject.base.seed), **provenance(place.device)}


def _row(finding: Finding, common: Record) -> Record:
    alternative, move = finding.alternative, finding.move
    return {
        "choice": alternative.choice,
        "from": alternative.before,
        "to": alternative.after,
        "metric.fd_before": move.before,
        "metric.fd_after": move.after,
        "metric.move": move.value,
        "metric.move_low": move.interval.low,
        "metric.move_high": move.interval.high,
        "metric.move_se": move.interval.standard_error,
        "paired": "yes" if move.paired else "no",
        "verdict": finding.word,
        **common,
    }
