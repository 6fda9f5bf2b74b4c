"""The forensics report: written whole for an experiment, only on request for anything else, the same bytes each time."""

import io
from pathlib import Path

import numpy as np
import pytest
from harness.tiny import write_tiny
from PIL import Image

from replication.cli import main
from replication.harness.forensics.examination import NOT_CHANGED
from replication.harness.journal import Record
from replication.report.forensics import forest_plot, markdown_report, printed, write_forensics
from replication.report.rows import read_csv


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPLICATION_HOME", raising=False)
    write_tiny(tmp_path)
    return tmp_path


@pytest.fixture
def rows() -> list[Record]:
    common = {
        "title": "tiny", "distance": "FD-digits", "cell": "key", "protocol.name": "tiny", "protocol.n": 16,
        "protocol.reference": "digits test", "protocol.extractor": "digits-cnn",
    }  # fmt: skip

    def finding(choice: str, value: float, width: float, verdict: str) -> Record:
        interval = {"metric.move": value, "metric.move_low": value - width, "metric.move_high": value + width}
        before = {"choice": choice, "from": "a", "to": "b", "metric.fd_before": 1.0, "metric.fd_after": 1.0 + value}
        paired = "no" if choice == "seed" else "yes"
        return {**before, **interval, "paired": paired, "verdict": verdict, **common}

    return [
        finding("weights", 2.5, 0.5, "moves it"), finding("seed", -0.1, 0.2, "noise"),
        finding("quantizer", 1e-3, 1e-4, "negligible"), finding("samples stored", 0.0, 0.0, "identical"),
        {"choice": "TF32", "verdict": NOT_CHANGED, "because": "needs CUDA", **common},
    ]  # fmt: skip


def test_table_says_move_interval_and_verdict(rows: list[Record]) -> None:
    lines = [line for line in printed(rows).splitlines() if line.startswith("|")]
    assert "FD-digits before" in lines[0]
    assert [line.split("|")[1].strip() for line in lines[2:6]] == ["weights", "seed", "quantizer", "samples stored"]
    assert "+2.5 [+2, +3]" in lines[2]
    assert lines[2].rstrip("| ").endswith("moves it")
    assert "other images" in lines[3]
    assert lines[3].rstrip("| ").endswith("noise")
    assert "| 0 " in lines[5]
    assert "| TF32        | needs CUDA |" in lines


def test_report_is_byte_stable_and_names_where_a_choice_was_seen(rows: list[Record]) -> None:
    text = markdown_report(rows, "forensics-tiny-cpu")
    assert "pytorch-ddpm #22" in text
    assert "DiT's README" in text  # of the choice that was not changed, too
    assert "improved-diffusion" not in text  # of a choice that was not asked for
    assert text == markdown_report(rows, "forensics-tiny-cpu")
    assert forest_plot(rows) == forest_plot(rows)
    assert Image.open(io.BytesIO(forest_plot(rows))).width > 800


def test_files_of_a_report(rows: list[Record], tmp_path: Path) -> None:
    files = write_forensics(rows, tmp_path / "out" / "forensics-tiny-cpu")
    assert [file.name for file in files] == [f"forensics-tiny-cpu.{suffix}" for suffix in ("csv", "md", "png")]
    assert [row["metric.move"] for row in read_csv(files[0]) if "metric.move" in row] == pytest.approx(
        [2.5, -0.1, 1e-3, 0.0]
    )


def test_command_writes_results_of_an_experiment_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole and unchanged into results/; a part, or images, nowhere unless --out is given. Catches: a partial table in
    place of the committed one."""
    assert main(["forensics", "tiny", "--only", "clip", "--device", "cpu"]) == 0
    assert "identical" in capsys.readouterr().out
    assert not (folder / "results").exists()
    np.savez(folder / "mine.npz", arr_0=np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8))
    command = ["forensics", "mine.npz", "--set", "protocol.resamples=3", "--only", "n", "--only", "reference"]
    assert main(command) == 0
    assert not (folder / "results").exists()
    assert main([*command, "--out", "kept"]) == 0
    assert sorted(p.name for p in (folder / "kept").iterdir()) == [f"forensics-mine.{s}" for s in ("csv", "md", "png")]
    assert main(["forensics", "tiny", "--device", "cpu"]) == 0
    written = sorted(p.name for p in (folder / "results").iterdir())
    assert written == [*(f"forensics-tiny-cpu.{s}" for s in ("csv", "md", "png")), "index.html"]
    first = {name: (folder / "results" / name).read_bytes() for name in written}
    assert main(["forensics", "tiny", "--device", "cpu"]) == 0
    assert {name: (folder / "results" / name).read_bytes() for name in written} == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tiny", "--only", "jpeg"], "unknown choice 'jpeg'"),
        (["tny"], "unknown experiment 'tny'; did you mean 'tiny'"),
        (["gone.npz"], "gone.npz: there is no such file"),
        (["tiny", "--set", "protocol.n"], "write it as key=value"),
    ],
)
def test_wrong_input_exits_with_2(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["forensics", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
