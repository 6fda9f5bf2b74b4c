"""Rows beside the committed ones: equal, inside, outside, and what is not to be compared."""

import json
import subprocess
from pathlib import Path

import mlflow
import pytest
from harness.tiny import write_tiny

from replication.cli import main
from replication.harness.journal import Record, unsealed
from replication.harness.store import Store
from replication.report.reproduced import Reproduction, beside, committed_rows, reproduction, tags_beside

COMMITTED: Record = {
    "cell": "a", "setting": "s", "label": "DDIM", "sampling.steps": 20, "env.device": "one", "env.threads": "2",
    "metric.fd": 0.86175, "metric.fd_low": 0.727, "metric.fd_high": 1.11, "version.sampling": 1,
    "metric.nll": 4.4, "metric.nll_se": 0.05, "timing.seconds_per_image": 0.002,
}  # fmt: skip


def against(**changes: object) -> Reproduction:
    """One row, changed from the committed one."""
    return reproduction([{**COMMITTED, "env.commit": "mine", **changes}], [COMMITTED], cells=2)


def test_the_digits_that_are_printed_decide_what_is_equal() -> None:
    found = against(**{"metric.fd": 0.86178, "env.device": "two"})
    assert str(found) == (
        "reproduced: 1 of 1 distances equal to 4 digits, 1 of 1 other figures; "
        "times: another machine (two, 2 threads; committed: one, 2 threads); 1 cell not run here"
    )
    assert not found.outside
    assert against(**{"metric.fd": 0.8622}).rows[0].word == "inside"


@pytest.mark.parametrize(
    ("fd", "word"), [(0.727, "inside"), (0.7269, "outside"), (1.11, "inside"), (1.1101, "outside")]
)
def test_the_committed_interval_decides_what_is_outside(fd: float, word: str) -> None:
    found = against(**{"metric.fd": fd})
    assert found.rows[0].word == word
    assert bool(found.outside) == str(found).startswith("not reproduced: ") == (word == "outside")


def test_another_figure_outside_is_counted_and_decides_nothing() -> None:
    found = against(**{"metric.nll": 4.6})
    assert not found.outside
    assert found.rows[0].words == {"metric.fd": "equal", "metric.nll": "outside"}
    assert "0 of 1 equal, outside: nll" in str(found.table())


def test_times_of_one_machine_are_set_in_proportion() -> None:
    assert "times: 1.50 of the committed ones" in str(against(**{"timing.seconds_per_image": 0.003}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cell": "b", "setting": "t"}, "no row of these settings is committed"),
        ({"cell": "b", "version.fd": 2}, "version of fd 2 against 1"),
        ({"cell": "b", "version.sampling": 2}, "drawn by another version of sampling"),
        ({"metric.fd": None}, "there is no distance"),
    ],
)
def test_what_is_not_to_be_compared_says_why(changes: Record, reason: str) -> None:
    """Catches a comparison across versions, whose figures differ by more than chance, and one with no figure at all."""
    found = against(**changes)
    assert found.compared == found.outside == []
    assert str(found).startswith(f"nothing to compare; 1 row: {reason}")


def test_a_committed_row_does_not_confirm_itself() -> None:
    assert beside([COMMITTED])(COMMITTED).meaning == "the committed one itself"
    assert tags_beside([])(COMMITTED) == {}


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, stdout=subprocess.DEVNULL)


def test_a_run_says_whether_it_reproduced_and_so_do_report_mlflow_and_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Committed rows are those of git, also once a report has written this machine's into results/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("REPLICATION_HOME", str(tmp_path / "first"))
    write_tiny(tmp_path)
    git(tmp_path, "init")
    assert main(["verify", "tiny"]) == 2
    assert "`replicate run` first" in capsys.readouterr().err
    assert main(["run", "tiny"]) == 0
    assert "reproduced" not in capsys.readouterr().out, "nothing is committed yet"
    readme = Path("README.md")
    readme.write_text(before := "<!-- table: results/tiny-cpu.md -->\n<!-- end -->\n")
    assert main(["report", "tiny", "--publish"]) == 0
    assert "DDIM" in readme.read_text()
    git(tmp_path, "add", "results")
    git(tmp_path, "commit", "-m", "rows")
    assert main(["verify"]) == 0
    assert "3 rows: the committed one itself" in capsys.readouterr().out

    monkeypatch.setenv("REPLICATION_HOME", str(tmp_path / "second"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["run", "tiny"]) == 0
    assert "\nreproduced: 3 of 3 distances equal to 4 digits, " in capsys.readouterr().out
    client = mlflow.MlflowClient(Store(tmp_path / "second").address)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    rows = [run for run in runs if run.data.tags["kind"] == "cell"]
    assert {run.data.tags["reproduced"] for run in rows} == {"equal to 4 digits"}
    readme.write_text(before)
    files = []
    for _ in range(2):
        assert main(["report", "tiny"]) == 0
        files.append({p.name: p.read_bytes() for p in Path("results").iterdir()})
    assert files[0] == files[1], "a report compares with what is committed, not with what it wrote"
    assert "\n\nreproduced: 3 of 3 distances" in Path("results/tiny-cpu.md").read_text()
    assert "Beside the committed rows: reproduced: 3 of 3 distances" in Path("results/index.html").read_text()
    assert readme.read_text() == before, "README is of those who publish rows"

    row = next((tmp_path / "second" / "journal" / "tiny-cpu").glob("*.json"))
    record = unsealed(row.read_bytes())
    row.write_text(json.dumps({**record, "metric.fd": record["metric.fd_high"] * 2}))
    capsys.readouterr()
    assert main(["verify", "tiny", "--json"]) == 1
    printed = capsys.readouterr()
    assert f"outside the committed intervals: {record['label']} x" in printed.err
    found = json.loads(printed.out)["tiny-cpu"]
    assert sorted(of["so"] for of in found["rows"]) == ["equal to 4 digits"] * 2 + ["outside the interval"]
    assert len(committed_rows(Path("results/tiny-cpu.csv").resolve())) == 3
