"""Whether a verdict would turn with more training: the same claim about the same trainings when they were half done.

A row ", half" is of another row's training at half of its steps. Where a table has one for each row that a claim names,
the claim is judged of those too, and a reading whose word was another one then is marked.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from replication.report.claims.claim import Claim, Point
from replication.report.claims.evidence import Evidence
from replication.report.claims.verdict import NotTested, Verdict

HALF = ", half"  # the end of such a row's label
JUDGED = ("supported", "refuted", "inconclusive")


def marked_if_turned(claim: Claim, verdicts: Sequence[Verdict], evidence: Evidence) -> list[Verdict]:
    """The verdicts, each with the word at half of the training where that was another one.

    Before either is corrected for the number of readings, which is the same for both.
    """
    if (earlier := _at_half(claim, evidence)) is None:
        return list(verdicts)
    words = [reading.verdict(earlier, evidence).word for reading in earlier.readings(evidence)]
    return [
        replace(v, at_half=word) if word != v.word and {word, v.word} <= set(JUDGED) else v
        for v, word in zip(verdicts, words, strict=True)
    ]


def _at_half(claim: Claim, evidence: Evidence) -> Claim | None:
    """The claim with each of its cells at half of the training; None where one of them has no such row, or it names none."""
    changed: dict[str, Any] = {}
    for field, value in claim:
        points = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, Point)]
        if points:
            halves = [_half_of(point, evidence) for point in points]
            if None in halves:
                return None
            changed[field] = halves if isinstance(value, list) else halves[0]
    return claim.model_copy(update=changed) if changed else None


def _half_of(point: Point, evidence: Evidence) -> Point | None:
    """The cell of the row ", half", at the point's number of steps or else at the nearest; None where there is none."""
    try:
        table = evidence.table(point)
    except NotTested:
        return None
    steps = [cell.sampling.steps for cell in table.cells if cell.label == point.label + HALF]
    if not steps:
        return None
    nearest = min(steps, key=lambda n: abs(n - point.steps))
    return point.model_copy(update={"label": point.label + HALF, "steps": nearest})
