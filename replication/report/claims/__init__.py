"""Verdicts on claims: one file per kind of claim."""

from collections.abc import Sequence

from replication.report.claims.claim import Claim, claims_of
from replication.report.claims.evidence import Evidence, with_rows
from replication.report.claims.verdict import Verdict
from replication.report.tables import MARK, Table

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
        evidence.verdicts[key] = claim.judge(evidence)
    return evidence.verdicts[key]


def markdown_claim(claim: Claim, evidence: Evidence) -> str:
    """The claim, its verdicts as a table, and one sentence on what they hang on."""
    verdicts = judge(claim, evidence)
    title = f"**Claim `{claim.name}`**: {claim.statement} ({claim.citation})."
    return f"{title}\n\n{verdict_table(verdicts)}\n\n{tally(claim, verdicts)}\n"


def markdown_claims(evidence: Sequence[Evidence]) -> str:
    """The whole list: every claim in one table with its words, then each with the numbers that led there."""
    claimed = [e for e in with_rows(evidence) if e.claims]
    lines = [[c.name, c.statement, e.profile, _summary(judge(c, e))] for e in claimed for c in e.claims]
    parts = ["# Claims", WORDS, str(Table(["claim", "statement", "profile", "verdict"], lines))]
    for e in claimed:
        parts.append(f"## {e.experiment.title} ({e.profile})")
        parts += [markdown_claim(claim, e).rstrip("\n") for claim in e.claims]
    return "\n\n".join(parts) + "\n"


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """One line per verdict; the papers' own values have a column where there are any."""
    lines = []
    for v in verdicts:
        interval = "" if v.low is None else f" [{v.low:.3g}, {v.high:.3g}]"
        measured = "" if v.value is None else f"{v.value:.3g}{interval}"
        line = {"definition": v.definition, "formula": v.formula, "measured [95 %]": measured, "needed": v.needed}
        if any(v.published is not None for v in verdicts):
            printed = "not published" if v.published is None else f"{v.published:.3g}"
            line["the same in the papers (FID, IS)"] = printed
        lines.append({**line, "verdict": v.marked})
    return Table.of(lines)


def tally(claim: Claim, verdicts: Sequence[Verdict]) -> str:
    """Which definitions have which word, why some are not tested, and in what rows differ that were compared."""
    unequal = dict.fromkeys(difference for v in verdicts for difference in v.differing)
    note = f" {MARK} The rows differ in {'; '.join(unequal)}." if unequal else ""
    of: dict[str, list[str]] = {}
    for v in verdicts:
        of.setdefault(v.marked + (f" ({v.reason})" if v.reason else ""), []).append(v.definition)
    if len(of) == 1:
        return f"Verdict: {next(iter(of))}.{note}"
    both = {"supported", "refuted"} <= {v.word for v in verdicts}
    # other kinds judge several things, and it is no wonder that they differ; this one judges a single thing several ways
    turns = "The verdict turns on the definition: " if both and claim.one_thing else ""
    return turns + "; ".join(f"{word}: {', '.join(definitions)}" for word, definitions in of.items()) + f".{note}"


def _summary(verdicts: Sequence[Verdict]) -> str:
    """The word if there is one, with the reason that all share; else how many readings have which."""
    words, reasons = [v.marked for v in verdicts], {v.reason for v in verdicts}
    if len(set(words)) == 1:
        return words[0] + (f": {reasons.pop()}" if len(reasons) == 1 and all(reasons) else "")
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
