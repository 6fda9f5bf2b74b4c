"""The cells of the committed experiments are those of tests/harness/cells.csv: rows that were run are found again.

One line a cell, in the table's order: the first 16 digits of its setting, which is its key without versions and by which an
earlier row of it is found, and of the SHA-256 of what is printed for it. A line is
changed on purpose alone, by running this file as a script. So far: the text rows of ldm and dit, when a caption vocabulary became its dataset's own, and those
of profile paper of dit, when its two decoders came to share one encoder.
"""

import csv
import hashlib
from itertools import groupby
from pathlib import Path

import pytest

from replication.harness.experiment import experiment_names, load_experiment
from replication.harness.jobs.cell import cells_of
from replication.harness.jobs.first_stage import first_stage_cells
from replication.harness.published import PublishedValue


def expected() -> dict[tuple[str, str], list[dict[str, str]]]:
    with (Path(__file__).parent / "cells.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {table: list(of) for table, of in groupby(rows, lambda row: (row["experiment"], row["profile"]))}


def printed(values: list[PublishedValue], metrics: bool) -> str:
    """A digest of the citations of what a paper prints for a cell, with their metrics; empty where it prints nothing."""
    text = "; ".join(f"{value.citation} {value.metric}" if metrics else value.citation for value in values)
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""


def found(experiment: str, profile: str) -> list[dict[str, str]]:
    loaded = load_experiment(experiment)
    stages = [
        {"kind": "first stage", "label": cell.label, "steps": "", "setting": cell.setting[:16], "published": printed(cell.published, False)}
        for cell in first_stage_cells(loaded, profile)
    ]  # fmt: skip
    samples = [
        {"kind": "samples", "label": cell.label, "steps": str(cell.sampling.steps), "setting": cell.setting[:16],
         "published": printed(cell.published, True)}
        for cell in cells_of(loaded, profile)
    ]  # fmt: skip
    return [{"experiment": experiment, "profile": profile, **row} for row in stages + samples]


def test_every_table_is_listed() -> None:
    """Catches an experiment or a profile that came or went without its cells being listed."""
    tables = [(name, profile) for name in experiment_names() for profile in load_experiment(name).profiles]
    assert tables == list(expected())


@pytest.mark.parametrize(("experiment", "profile"), list(expected()))
def test_cells_are_the_listed_ones(experiment: str, profile: str) -> None:
    """Catches a setting that changed, and with it rows that would be run again; a cell, or a published value, that was lost."""
    assert found(experiment, profile) == expected()[experiment, profile]


@pytest.mark.parametrize(
    ("experiment", "row", "sample_key"),
    [
        ("samplers", 0, "127cd31b680f8985550cc962ced40938ebca2ef0cd244b9410081d798485dc11"),
        ("guidance", -1, "14e55d4447fb31edf73fc1689b142a9f6b34d35a5fef36e3358b2c36907b5049"),
    ],
)
def test_samples_of_version_1_keep_their_folders(experiment: str, row: int, sample_key: str) -> None:
    """Catches chunks drawn before there were versions that are not found any more, and would be drawn again."""
    assert cells_of(load_experiment(experiment), "cpu", check=False)[row].sample_key == sample_key


if __name__ == "__main__":
    lines = [
        row for name in experiment_names() for profile in load_experiment(name).profiles for row in found(name, profile)
    ]
    with (Path(__file__).parent / "cells.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
