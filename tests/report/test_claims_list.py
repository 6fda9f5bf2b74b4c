"""The whole list: `replicate claims`, and results/claims.md."""

from dataclasses import replace
from pathlib import Path

from report.made_up import claim, ddim, evidence

from replication.harness.experiment import SIZES, Experiment, experiment_names, load_experiment
from replication.report.claims import Claim, Evidence, claims_of, markdown_claim, markdown_claims
from replication.report.claims.evidence import evidence_of
from replication.report.write import write_claims

ROWS = {"metric.fd": {2: (2.0, 0.01), 3: (1.0, 0.01)}}
ROOT = Path(__file__).parents[2]


def of_claims(found: Evidence, *claims: Claim, profile: str = "cpu") -> Evidence:
    return replace(found, profile=profile, claims=claims)


def test_summary_says_each_word_once_and_a_reason_that_all_share(folder: Path) -> None:
    """Catches: a summary that shows the first verdict for all."""
    of, over = [ddim(2), ddim(4)], ddim(3)
    mixed = claim("ratio", of=of, over=over, columns=["metric.fd"], at_least=1.5)
    alike = claim("ratio", of=[ddim(2)], over=over, columns=["metric.fd", "sampling.nfe"], at_least=0.5)
    waits = claim("value", of=[ddim(2)], columns=["metric.fd"], at_least=0.5, awaits="ldm")
    lines = markdown_claims([of_claims(evidence(folder, ROWS), mixed, alike, waits)]).splitlines()
    verdicts = [line.split("|")[-2].strip() for line in lines if line.startswith("| n ")]
    assert verdicts == ["1 supported, 1 not tested", "supported", "not tested: there is no experiment 'ldm' yet"]


def test_detail_gives_the_reason_and_the_mark(folder: Path) -> None:
    """Catches: "not tested" without its reason, and rows of unequal n compared as if they were equal."""
    found = evidence(folder, ROWS)
    for record in found.rows.values():
        record["protocol.n"] = 1600 + record["sampling.steps"]
    fields = {"of": [ddim(2)], "over": ddim(3), "columns": ["metric.fd"], "at_least": 1.5}
    refused = markdown_claim(claim("ratio", **fields), found)
    assert "| not tested |" in refused
    assert refused.endswith("\n\nAll not tested (the rows differ in n 1602 against 1603).\n")
    assert "**Answer**: Not tested: the rows differ in n 1602 against 1603.\n" in refused
    marked = markdown_claim(claim("ratio", **fields, unequal=True), found)
    assert "| supported † |" in marked
    assert "† The rows differ in n 1602 against 1603." in marked


def test_profiles_with_rows_are_listed_by_size(folder: Path) -> None:
    """The smallest is there in any case. Catches: a page of claims for each profile that nobody has run."""
    known = claim("value", of=[{"name": "values", "shape": [1]}], about=1)
    found = of_claims(evidence(folder, ROWS), known)
    empty = replace(found, profile="paper", rows={})
    gpu, cpu = (replace(found, profile=profile) for profile in ("gpu", "cpu"))
    assert [line for line in markdown_claims([empty, gpu, cpu]).splitlines() if line.startswith("## ")] == [
        "## tiny (cpu)",
        "## tiny (gpu)",
    ]
    alone = replace(found, jobs=[], rows={})
    assert "## tiny (cpu)" in markdown_claims([alone])
    about_others = replace(alone, profile="gpu", others={"other": gpu})
    assert "## tiny (gpu)" in markdown_claims([about_others])


def test_the_file_is_stable_byte_for_byte(folder: Path) -> None:
    found = of_claims(evidence(folder, ROWS), claim("value", of=[ddim(2)], columns=["metric.fd"], at_least=1))
    first = write_claims([found], folder / "results").read_bytes()
    assert write_claims([found], folder / "results").read_bytes() == first
    assert b"2 [1.98, 2.02]" in first


def committed() -> list[Experiment]:
    return [load_experiment(name) for name in experiment_names()]


def test_every_committed_claim_has_its_own_name_and_statement() -> None:
    """Catches: a statement that is in two files."""
    claims = [claim for experiment in committed() for claim in claims_of(experiment)]
    for texts in ([c.name for c in claims], [c.statement for c in claims]):
        assert len(set(texts)) == len(texts)


def test_every_claim_is_in_the_list() -> None:
    """Catches: an experiment of claims about the rows of others that was given rows of its own, on which they cannot be judged."""
    listed = (ROOT / "results" / "claims.md").read_text(encoding="utf-8")
    names = {claim.name for experiment in committed() for claim in claims_of(experiment)}
    assert sorted(name for name in names if f"\n| {name} " not in listed) == []


def test_claims_md_is_that_of_the_committed_rows(tmp_path: Path) -> None:
    """Catches: a list that was left behind by the rows, by a claim or by the way it is judged."""
    evidence = [
        evidence_of(experiment, profile, tmp_path, ROOT / "results")
        for experiment in committed()
        for profile in experiment.profiles or SIZES
    ]
    assert markdown_claims(evidence) == (ROOT / "results" / "claims.md").read_text(encoding="utf-8")
