"""Verdicts on claims: one file per kind of claim."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from replication.report.claims.claim import Claim
from replication.report.claims.evidence import Evidence, with_rows
from replication.report.claims.load import claims_of
from replication.report.claims.verdict import Verdict
from replication.report.comparable import MARK
from replication.report.tables import markdown

__all__ = [
    "Claim",
    "Evidence",
    "Verdict",
    "claims_of",
    "judge",
    "markdown_claim",
    "markdown_claims",
    "tally",
    "verdict_table",
]

WORDS = """\
Each claim is judged by the 95 % interval of its figure: *supported* where all of the interval lies where the claim needs
it, *refuted* where none of it does, *inconclusive* where it lies on both sides, *not tested* for the reason given."""


def judge(claim: Claim, evidence: Evidence) -> list[Verdict]:
    """One verdict per reading. Below the claim's minimum profile, or without its rows, each is "not tested".

    The evidence keeps them: a report asks for them in the table, in the list of claims and on the page.
    """
    key = repr(claim)
    if key not in evidence.verdicts:
        evidence.verdicts[key] = _judged(claim, evidence)
    return evidence.verdicts[key]


def _judged(claim: Claim, evidence: Evidence) -> list[Verdict]:
    verdicts, reason = claim.judge(evidence), evidence.shortfall(claim)
    if not reason:
        return verdicts
    nothing: dict[str, Any] = {"value": None, "low": None, "high": None, "word": "not tested", "differing": ()}
    return [replace(verdict, **nothing, reason=reason) for verdict in verdicts]


def markdown_claim(claim: Claim, evidence: Evidence) -> str:
    """The claim, its verdicts as a table, and one sentence on what they hang on."""
    return _detail(claim, judge(claim, evidence))


def markdown_claims(evidence: Sequence[Evidence]) -> str:
    """The whole list: every claim in one table with its words, then each with the numbers that led there."""
    judged = [(e, [(claim, judge(claim, e)) for claim in e.claims]) for e in with_rows(evidence)]
    lines = [
        [claim.name, claim.statement, e.profile, _summary(found)] for e, claims in judged for claim, found in claims
    ]
    parts = ["# Claims", WORDS, markdown(["claim", "statement", "profile", "verdict"], lines)]
    for e, claims in judged:
        if claims:
            parts.append(f"## {e.experiment.title} ({e.profile})")
            parts += [_detail(claim, found).rstrip("\n") for claim, found in claims]
    return "\n\n".join(parts) + "\n"


def _detail(claim: Claim, verdicts: Sequence[Verdict]) -> str:
    title = f"**Claim `{claim.name}`**: {claim.statement} ({claim.citation})."
    return f"{title}\n\n{markdown(*verdict_table(verdicts))}\n\n{tally(claim, verdicts)}\n"


def verdict_table(verdicts: Sequence[Verdict]) -> tuple[list[str], list[list[str]]]:
    """(columns, lines); what the papers' own numbers say is left out where they say nothing."""
    lines = [[v.definition, v.formula, _value(v), v.needed, _published(v), _word(v)] for v in verdicts]
    columns = ["definition", "formula", "measured [95 %]", "needed", "the same in the papers (FID, IS)", "verdict"]
    if not any(v.published for v in verdicts):
        columns, lines = columns[:4] + columns[5:], [line[:4] + line[5:] for line in lines]
    return columns, lines


def tally(claim: Claim, verdicts: Sequence[Verdict]) -> str:
    """Which definitions have which word, why some are not tested, and in what rows differ that were compared."""
    unequal = dict.fromkeys(difference for v in verdicts for difference in v.differing)
    note = f" {MARK} The rows differ in {'; '.join(unequal)}." if unequal else ""
    of: dict[str, list[str]] = {}
    for v in verdicts:
        of.setdefault(_word(v) + (f" ({v.reason})" if v.reason else ""), []).append(v.definition)
    if len(of) == 1:
        return f"Verdict: {next(iter(of))}.{note}"
    both = {"supported", "refuted"} <= {v.word for v in verdicts}
    # other kinds judge several things, and it is no wonder that they differ; this one judges a single thing several ways
    turns = "The verdict turns on the definition: " if both and claim.one_thing else ""
    return turns + "; ".join(f"{word}: {', '.join(definitions)}" for word, definitions in of.items()) + f".{note}"


def _summary(verdicts: Sequence[Verdict]) -> str:
    """The word if there is one; else how many readings have which. A reason that all share is said."""
    words, reasons = [_word(v) for v in verdicts], {v.reason for v in verdicts}
    if len(set(words)) == 1:
        return words[0] + (f": {reasons.pop()}" if len(reasons) == 1 and all(reasons) else "")
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))


def _word(v: Verdict) -> str:
    return f"{v.word} {MARK}" if v.differing else v.word


def _value(v: Verdict) -> str:
    if v.value is None:
        return ""
    return f"{v.value:.3g}" if v.low is None else f"{v.value:.3g} [{v.low:.3g}, {v.high:.3g}]"


def _published(v: Verdict) -> str:
    return "not published" if v.published is None else f"{v.published:.3g}"
