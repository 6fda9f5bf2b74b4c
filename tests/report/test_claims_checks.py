"""Claims in a TOML: what is wrong in one is said before anything is judged, with the nearest valid name."""

from pathlib import Path

import pytest
from harness.tiny import write_tiny
from report.made_up import claim, ddim, evidence, judge, only, words, write_several_steps

from replication.cli import main
from replication.harness.experiment import Experiment, load_experiment
from replication.harness.jobs.cell import cells_of
from replication.report.claims import claims_of
from replication.report.claims.evidence import evidence_of
from replication.report.rows import csv_text
from replication.types import InputError

POINT = '{ experiment = "tiny", label = "DDIM", steps = 2 }'
OTHER = '{ experiment = "tiny", label = "DDIM", steps = 3 }'
THIRD = '{ experiment = "tiny", label = "DDIM", steps = 4 }'
KINDS = {
    "tradeoff": f"candidate = {POINT}\nreference = {OTHER}\nbaseline = {THIRD}\nbad = {THIRD}\nquality = {{ about = 1.0 }}\nspeed = {{ above = 1.0 }}",
    "share": 'share = 0.9\nranges = [[2, 6]]\ncolumns = ["metric.fd"]',
    "prior": 'dataset = "digits"\nschedules = ["cosine"]\nbits = 1e-4\nimages = 1000',
    "value": f'of = [{POINT}]\ncolumns = ["metric.fd"]\nat_most = 1.0',
    "ratio": f'of = [{POINT}]\nover = {OTHER}\ncolumns = ["metric.fd"]\nat_most = 1.0',
    "ordering": f'points = [{POINT}, {OTHER}]\nrising = ["metric.fd"]',
    "trend": f'points = [{POINT}, {OTHER}, {THIRD}]\ncolumns = ["metric.fd"]\nalong = "sampling.nfe"\nat_least = 0.9',
    "power-law": f'points = [{POINT}, {OTHER}, {THIRD}]\ncolumns = ["metric.fd"]\nalong = "sampling.nfe"\nthan_along = "sampling.steps"',
    "equivalence": f'points = [{POINT}]\nreference = {OTHER}\ncolumns = ["metric.fd"]\nmargin = 0.1',
}


def guide(folder: Path, kind: str, *changes: tuple[str, str]) -> Experiment:
    """experiments/guide.toml with one claim of that kind and nothing else, beside the tiny experiment; checked."""
    write_several_steps(folder)
    common = 'name = "n"\nstatement = "s"\ncitation = "c"\nminimum_profile = "cpu"'
    text = f'title = "guide"\npapers = []\n[[claim]]\nkind = "{kind}"\n{common}\n{KINDS[kind]}\n'
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "experiments" / "guide.toml"
    path.write_text(text)
    experiment = load_experiment(str(path))
    claims_of(experiment)
    return experiment


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_stands_in_a_file_of_claims_alone(folder: Path, kind: str) -> None:
    """Without rows nothing but the exact kind is tested, and the reason is there. Catches: a kind without a judge."""
    guide(folder, kind)
    (folder / "results").mkdir()
    found = evidence_of(load_experiment("guide"), "cpu", folder / "runs", folder / "results")
    verdicts = judge(found.claims[0], found)
    assert verdicts
    assert all((v.word == "not tested") == (kind != "prior") for v in verdicts)
    assert all(v.reason for v in verdicts if v.word == "not tested")


@pytest.mark.parametrize("kind", KINDS)
def test_keys_are_strict(folder: Path, kind: str) -> None:
    """Catches: a misspelt key that is passed over, in each kind."""
    with pytest.raises(InputError, match=r"guide\.toml: claim\.0.*unknown key 'citatoin'; did you mean 'citation'"):
        guide(folder, kind, ('citation = "c"', 'citation = "c"\ncitatoin = "c"'))


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("value", ("steps = 2", "stepps = 2"), "unknown key 'stepps'; did you mean 'steps'"),
        ("ordering", ("steps = 2", "stepps = 2"), "unknown key 'stepps'; did you mean 'steps'"),
        ("equivalence", ("steps = 3", "stepps = 3"), "unknown key 'stepps'; did you mean 'steps'"),
        ("value", ('"DDIM"', '"DDMI"'), "claim n: unknown cell 'DDMI x 2'; did you mean 'DDIM x 2'"),
        ("trend", ("steps = 4", "steps = 40"), "claim n: unknown cell 'DDIM x 40'; did you mean 'DDIM x 4'"),
        ("ratio", ('experiment = "tiny"', 'experiment = "tinny"'), "claim n: unknown experiment 'tinny'; did you mean 'tiny'"),
        ("tradeoff", ('experiment = "tiny", ', ""), r"claim n: DDIM x 2: guide\.toml has no rows; say experiment"),
        ("value", ("at_most = 1.0", ""), "say one of about, at_least, at_most, above and below"),
        ("trend", ("at_least = 0.9", "at_least = 0.9\nabout = 1.0"), "say one of about, at_least, at_most, above and below"),
        ("ratio", ("at_most = 1.0", "at_most = 1.0\ntolerance = 0.1"), "unknown key 'tolerance'"),
        ("tradeoff", ("about = 1.0", "abuot = 1.0"), "quality.*unknown key 'abuot'; did you mean 'about'"),
        ("equivalence", ("margin = 0.1", "margin = 0"), r"margin: .*greater than 0"),
        ("ordering", ('rising = ["metric.fd"]', ""), "say which columns are rising or falling"),
        ("ordering", (f"[{POINT}, {OTHER}]", f"[{POINT}]"), "points: .*at least 2"),
        ("trend", (f", {THIRD}", ""), "points: .*at least 3"),
        ("trend", ("at_least", 'printed = [{ correlation = -2, method = "rank", column = "metric.fd", points = 12 }]\nat_least'), "greater than or equal to -1"),
        ("power-law", ("than_along", f"than = [{POINT}]\nthan_along"), "than .*or than_along"),
        ("power-law", ('than_along = "sampling.steps"', ""), "say what it is compared with"),
        ("power-law", ('than_along = "sampling.steps"', f"than = [{POINT}]"), "a power law takes at least 3 points"),
        ("share", ("[[2, 6]]", "[[6, 2]]"), r"ranges: \[6, 2\] does not rise"),
        ("share", ("[[2, 6]]", "[[2, 6, 7]]"), r"ranges\.0: .*at most 2"),
        ("prior", ("bits = 1e-4", "nats = 0.01"), "unknown key 'nats'"),
        ("value", ('columns = ["metric.fd"]', ""), "points need them"),
        ("value", (f"[{POINT}]", '["bound_deviation"]'), "exact quantities have none"),
        ("ratio", (f"over = {OTHER}", 'over = "bound_deviation"'), "points and exact quantities do not go together"),
        ("value", (f'[{POINT}]\ncolumns = ["metric.fd"]', '["bound_devation"]'), "unknown quantity 'bound_devation'; did you mean 'bound_deviation'"),
        ("value", (f'[{POINT}]\ncolumns = ["metric.fd"]', '[{ name = "values", shape = [0] }]'), r"a shape has positive sides, not \[0\]"),
        ("value", ('"cpu"', '"cpuu"'), "minimum_profile: .*'cpu'"),
        ("value", ('"cpu"', '"gpu"\nmaximum_profile = "cpu"'), "maximum_profile cpu is below minimum_profile gpu"),
        ("prior", ('"cosine"', '"cosin"'), "unknown schedule 'cosin'; did you mean 'cosine'"),
        ("share", ('kind = "share"', 'kind = "shar"'), "'shar'"),
    ],
)  # fmt: skip
def test_bad_claims_are_one_message(folder: Path, kind: str, change: tuple[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        guide(folder, kind, change)
    assert str(caught.value).startswith(str(folder / "experiments" / "guide.toml"))


def test_a_wrong_claim_is_refused_before_anything_is_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches: claims that are read only once hours of training are over."""
    write_tiny(folder, ('label = "DDIM", steps = 2 }', 'label = "DDIM", steps = 3 }'))
    for command in ("plan", "run"):
        assert main([command, "tiny"]) == 2
        assert "claim few: unknown cell 'DDIM x 3'; did you mean 'DDIM x 2'" in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_cells_as_text_and_by_pattern(folder: Path) -> None:
    """ "tiny: DDIM x 2" is that cell, and a pattern every row that it matches, of whichever profile, in the table's order.

    Catches: a pattern that matches across step counts, one that passes though nothing matches, and a list whose length is
    counted before its patterns are written out.
    """
    texts = (OTHER, '"tiny: DDIM x 3"'), (f"[{POINT}]", '["tiny: *[Ia]* x 2"]')
    (found,) = claims_of(guide(folder, "ratio", *texts))
    assert [point.cell for point in found.named()] == ["DDIM x 2", "sigma-hat x 2", "DDIM x 3"]
    with pytest.raises(InputError, match=r"claim n: unknown cell 'E\* x 2'.*valid: DDIM x 2"):
        guide(folder, "ratio", (f"[{POINT}]", '["tiny: E* x 2"]'))
    with pytest.raises(InputError, match=r'points\.0: write a cell as "LABEL x STEPS" \(the value is \'DDIM\'\)'):
        guide(folder, "equivalence", (f"[{POINT}]", '["DDIM"]'))


def test_awaited_experiments(folder: Path) -> None:
    """Cells of an awaited experiment aren't looked for; another's misspelt name is refused all the same.

    Catches: `awaits` as a way round every check, and a claim that goes on waiting for what is there.
    """
    later = ('name = "n"', 'name = "n"\nawaits = "ldm"')
    experiment = guide(folder, "ratio", later, ('experiment = "tiny"', 'experiment = "ldm"'))
    found = evidence_of(experiment, "cpu", folder / "runs", folder / "results")
    verdict = only(found.claims[0], found)
    assert (verdict.word, verdict.reason) == ("not tested", "there is no experiment 'ldm' yet")
    assert verdict.definition.startswith("FD: DDIM x 2")
    with pytest.raises(InputError, match=r"unknown experiment in awaits 'ldm'.*valid: tiny"):
        guide(folder, "ratio", later)
    with pytest.raises(InputError, match="unknown experiment 'tinny'; did you mean 'tiny'"):
        guide(folder, "ordering", later, ('experiment = "tiny"', 'experiment = "ldm"'), ('"tiny"', '"tinny"'))
    (folder / "experiments" / "ldm.toml").write_text("")
    with pytest.raises(InputError, match="claim n: awaits 'ldm', which is there now"):
        guide(folder, "ratio", later, ('experiment = "tiny"', 'experiment = "ldm"'))


def test_a_file_of_claims_alone_is_not_run(folder: Path) -> None:
    """Catches: a traceback for `replicate run` of it, and an empty file that passes for an experiment."""
    experiment = guide(folder, "value")
    with pytest.raises(InputError, match=r"guide\.toml: there are claims alone in it, and nothing to run"):
        cells_of(experiment, "cpu")
    (folder / "experiments" / "none.toml").write_text('title = "none"\npapers = []\n')
    with pytest.raises(InputError, match="there are neither profiles nor claims"):
        load_experiment("none")
    (folder / "experiments" / "rows.toml").write_text('title = "rows"\npapers = []\n[[rows]]\nlabel = "a"\n')
    with pytest.raises(InputError, match="unknown key 'rows'"):
        load_experiment("rows")


def test_points_of_another_experiment_are_its_rows(folder: Path) -> None:
    """From its committed table, in the same profile. Catches: the own table read for the other's."""
    rows = evidence(folder, {"metric.fd": {2: (0.5, 0.01)}})
    experiment = guide(folder, "value")
    (claimed,) = claims_of(experiment)
    (folder / "results").mkdir()
    (folder / "results" / "tiny-cpu.csv").write_text(csv_text(list(rows.rows.values())))
    verdict = only(claimed, evidence_of(experiment, "cpu", folder / "runs", folder / "results"))
    assert (verdict.word, verdict.value, verdict.definition) == ("supported", 0.5, "FD-digits of DDIM x 2")
    larger = only(claimed, evidence_of(experiment, "gpu", folder / "runs", folder / "results"))
    assert (larger.word, larger.reason) == ("not tested", "experiment 'tiny' has no profile gpu")


def test_profile_that_is_too_small(folder: Path) -> None:
    """Catches: a claim judged below its minimum profile, an exact one too."""
    rows = evidence(folder, {"metric.fd": {2: (1.0, 0.01)}})
    for fields in ({"of": [ddim(2)], "columns": ["metric.fd"]}, {"of": [{"name": "values", "shape": [1]}]}):
        judged = claim("value", **fields, at_least=0.5, minimum_profile="gpu")
        verdict = only(judged, rows)
        assert (verdict.word, verdict.value) == ("not tested", None)
        assert verdict.reason == "profile cpu is too small, it takes gpu"
        assert words(judged.model_copy(update={"minimum_profile": "cpu"}), rows) == ["supported"]


def test_a_claim_about_the_data_of_a_smaller_profile(folder: Path) -> None:
    """Catches: a bar for digits that judges photographs."""
    judged = claim("value", of=[ddim(2)], columns=["metric.fd"], at_least=0.5, maximum_profile="cpu")
    rows = {"metric.fd": {2: (1.0, 0.01)}}
    assert words(judged, evidence(folder, rows)) == ["supported"]
    verdict = only(judged, evidence(folder, rows, "gpu"))
    assert (verdict.word, verdict.reason) == ("not tested", "it is about the data of profile cpu")


def test_share_says_how_much_is_missing(folder: Path) -> None:
    rows = evidence(folder, {"metric.fd": {2: (1.0, 0.01), 3: (0.5, 0.01)}})
    assert {v.reason for v in judge(claim("share", share=0.9, ranges=[[2, 6]], columns=["metric.fd"]), rows)} == {
        "3 of 5 cells are not run"
    }


def test_the_command_lists_claims_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guide(folder, "value")
    assert main(["claims", "guide"]) == 0
    assert "DDIM x 2 of tiny is not run" in capsys.readouterr().out
    assert main(["run", "guide"]) == 2
    assert "nothing to run" in capsys.readouterr().err
