from pathlib import Path

import pytest
from harness.tiny import write_tiny
from PIL import Image
from report.page_rows import FORENSICS, MORE_ROWS, TITLE, record

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.report.claims import Evidence, claims_of
from replication.report.rows import csv_text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> list[Evidence]:
    """A table with a row for all cells but one, and one with none."""
    folder = tmp_path_factory.mktemp("experiment")
    path = write_tiny(folder, ('title = "tiny"', f"title = '{TITLE}'"))
    path.write_text(path.read_text() + MORE_ROWS)
    experiment = load_experiment(str(path))
    cells = cells_of(experiment, "cpu")
    rows = {
        cell.key: record(12.3456789 / (i + 1), cell.sampling.steps, cell.key, cell.label)
        for i, cell in enumerate(cells[:-1])
    }
    claims = claims_of(experiment)
    return [Evidence(experiment, "cpu", cells, rows, claims), Evidence(experiment, "gpu", cells, {}, claims)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, a report of forensics, and the files that links lead to."""
    folder = tmp_path_factory.mktemp("results")
    Image.effect_noise((900, 300), 50).save(folder / "tiny-cpu-samples.png")
    Image.new("RGB", (1200, 400), "orange").save(folder / "forensics-tiny.png")
    (folder / "forensics-tiny.csv").write_text(csv_text(FORENSICS))
    for stem in ("tiny-cpu", "forensics-tiny", "claims"):
        (folder / f"{stem}.md").touch()
    return folder
