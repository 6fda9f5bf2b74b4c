"""Verdicts on claims: one file per kind of claim."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from replication.report.claims.claim import Claim, Point, claims_of
from replication.report.claims.evidence import Evidence, with_rows
from replication.report.claims.verdict import TURNED, NotTested, Verdict, corrected, marks
from replication.report.tables import MARK, Table, escaped, stale_notes

__all__ = [
    "Claim",
    "Evidence",
    "Verdict",
    "answered",
    "claims_as_json",
    "claims_of",
    "judge",
    "markdown_claim",
    "markdown_claims",
    "notes",
    "verdict_table",
]

HALF = ", half"  # the end of such a row's label
JUDGED = ("supported", "refuted", "inconclusive")
ANSWER = "**Answer**: "  # what a claim's answer begins with in a report
WORDS = """\
Each claim is judged by the 95 % interval of its figure: *supported* where all of the interval lies where the claim needs
it, *refuted* where none of it does, *inconclusive* where it lies on both sides, *not tested* for the reason given. A
definition under which a plainly bad row passes too *does not discriminate* and counts for nothing. Where a claim has
several readings, p is corrected for their number (Holm), and a word with p above 0.05 is *inconclusive*."""


def judge(claim: Claim, evidence: Evidence) -> list[Verdict]:
    """One verdict per reading. Below the claim's minimum profile, or without its rows, each is "not tested".

    The evidence keeps them: a report asks for them in the table, in the list of claims and on the page.
    """
    key = repr(claim)
    if key not in evidence.verdicts:
        evidence.verdicts[key] = corrected(_marked_if_turned(claim, claim.judge(evidence), evidence))
    return evidence.verdicts[key]


def _marked_if_turned(claim: Claim, verdicts: Sequence[Verdict], evidence: Evidence) -> list[Verdict]:
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


def answered(claim: Claim, verdicts: Sequence[Verdict]) -> str:
    """What the verdicts come to in one sentence, with their marks."""
    return " ".join([claim.answer(verdicts), *marks(verdicts)])


def markdown_claim(claim: Claim, evidence: Evidence) -> str:
    """The claim, its answer in a sentence, its verdicts as a table, and what they hang on."""
    verdicts = judge(claim, evidence)
    title = f"**Claim `{claim.name}`**: {escaped(claim.statement)} ({escaped(claim.citation)})."
    parts = [title, f"{ANSWER}{answered(claim, verdicts)}", str(verdict_table(verdicts)), notes(verdicts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_claims(evidence: Sequence[Evidence]) -> str:
    """The whole list: every claim in one table with its words, then each with the numbers that led there."""
    claimed = [e for e in with_rows(evidence) if e.claims]
    lines = [[c.name, c.statement, e.profile, _summary(judge(c, e))] for e in claimed for c in e.claims]
    parts = ["# Claims", WORDS, str(Table(["claim", "statement", "profile", "verdict"], lines))]
    for e in claimed:
        parts.append(f"## {escaped(e.experiment.title)} ({e.profile})")
        parts += [markdown_claim(claim, e).rstrip("\n") for claim in e.claims]
    return "\n\n".join(parts) + "\n"


def claims_as_json(evidence: Sequence[Evidence]) -> list[dict[str, Any]]:
    """The whole list for a program: every claim of every profile with its answer and its verdicts."""
    return [
        {
            "claim": c.name, "experiment": e.experiment.name, "profile": e.profile, "statement": c.statement,
            "citation": c.citation, "answer": answered(c, judge(c, e)),
            "verdicts": [{**asdict(v), "needed": str(v.needed)} for v in judge(c, e)],
        }
        for e in with_rows(evidence)
        for c in e.claims
    ]  # fmt: skip


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """One line per verdict; a column that no verdict fills is left out."""
    several = sum(v.p is not None for v in verdicts) > 1
    lines = []
    for v in verdicts:
        printed = "not published" if v.published is None else f"{v.published:.3g} ({v.source})"
        line = {
            "definition": v.definition,
            "formula": v.formula,
            "measured [95 %]": v.measured,
            "needed": str(v.needed),
        }
        if any(other.published is not None for other in verdicts):
            line["published (FID, IS)"] = printed
        for cell in dict.fromkeys(cell for other in verdicts for cell in other.controls):
            value = v.controls.get(cell, "")
            line[f"the same of {cell}"] = "not run" if value is None else f"{value:.3g}" if value != "" else ""
        if any(other.pairing for other in verdicts):
            line["rows paired"] = v.pairing
        if several:
            line["p (Holm)"] = "" if v.p is None else "below 0.001" if v.p < 0.001 else f"{v.p:.2g}"
        lines.append({**line, "verdict": v.marked})
    return Table.of(lines)


def notes(verdicts: Sequence[Verdict]) -> str:
    """Why readings have no word, or not the one that their interval has, and in what rows differ that were compared."""
    of: dict[str, list[str]] = {}
    for v in verdicts:
        if v.reason:
            of.setdefault(f"{v.word} ({v.reason})", []).append(v.definition)
    alike = len(of) == 1 and all(v.reason for v in verdicts)
    found = [f"All {word}." if alike else f"{', '.join(definitions)}: {word}." for word, definitions in of.items()]
    if unequal := dict.fromkeys(difference for v in verdicts for difference in v.differing):
        found.append(f"{MARK} The rows differ in {'; '.join(unequal)}.")
    if also := dict.fromkeys(difference for v in verdicts for difference in v.also):
        found.append(f"The rows differ also in {', '.join(also)}.")
    if turned := {v.definition: v.at_half for v in verdicts if v.at_half}:
        words = "; ".join(f"{definition}: {word}" for definition, word in turned.items())
        found.append(f"{TURNED} Another word at half of the training ({words}): more training may turn it again.")
    return " ".join(found + stale_notes(v.stale for v in verdicts if v.stale))


def _summary(verdicts: Sequence[Verdict]) -> str:
    """The word if there is one, with the reason that all share; else how many readings have which."""
    words, reasons = [v.marked for v in verdicts], {v.reason for v in verdicts}
    if len(set(words)) == 1:
        return words[0] + (f": {reasons.pop()}" if len(reasons) == 1 and all(reasons) else "")
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
