"""Verdicts on claims: one file per kind of claim."""

from replication.harness.claim import Claim, MarginalClaim, PriorClaim, ShareClaim
from replication.report.claims.marginal import judge_marginal
from replication.report.claims.prior import judge_prior
from replication.report.claims.share import judge_share
from replication.report.claims.tradeoff import judge_tradeoff
from replication.report.claims.verdict import Evidence, Verdict
from replication.report.tables import markdown

__all__ = ["Evidence", "Verdict", "judge", "markdown_claim"]


def judge(claim: Claim, evidence: Evidence) -> list[Verdict]:
    """One verdict per reading. Below the claim's minimum profile, or without its rows, each is "not tested"."""
    if isinstance(claim, ShareClaim):
        return judge_share(claim, evidence)
    if isinstance(claim, PriorClaim):
        return judge_prior(claim, evidence)
    if isinstance(claim, MarginalClaim):
        return judge_marginal(claim, evidence)
    return judge_tradeoff(claim, evidence)


def markdown_claim(claim: Claim, evidence: Evidence) -> str:
    """The claim, its verdicts as a table, and one sentence on what they hang on."""
    verdicts = judge(claim, evidence)
    lines = [[v.definition, v.formula, _value(v), v.needed, _published(v), v.word] for v in verdicts]
    columns = ["definition", "formula", "measured [95 %]", "needed", "papers' own numbers", "verdict"]
    if not any(v.published for v in verdicts):
        columns, lines = columns[:4] + columns[5:], [line[:4] + line[5:] for line in lines]
    words = {v.word for v in verdicts}
    turns = "The verdict turns on the definition: " if {"supported", "refuted"} <= words else ""
    of = {
        word: ", ".join(v.definition for v in verdicts if v.word == word)
        for word in dict.fromkeys(v.word for v in verdicts)
    }
    tally = "; ".join(f"{word}: {definitions}" for word, definitions in of.items())
    return f"**Claim `{claim.name}`**: {claim.statement} ({claim.citation}).\n\n{markdown(columns, lines)}\n\n{turns}{tally}.\n"


def _value(v: Verdict) -> str:
    if v.value is None:
        return ""
    return f"{v.value:.3g}" if v.low is None else f"{v.value:.3g} [{v.low:.3g}, {v.high:.3g}]"


def _published(v: Verdict) -> str:
    return "not published" if v.published is None else f"{v.published:.3g}"
