"""A row whose images are compared with those of another row, one by one."""

from pathlib import Path

import pytest
from harness.tiny import write_tiny

from replication.cli import main
from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import Cell, cells_of
from replication.harness.journal import Journal
from replication.types import InputError

LAST = 'label = "sigma-hat"\nsampler = { name = "ancestral", variance = "fixed-large" }\nspacing = "uniform"\nsteps = [2]\nclip = "x0"\n'
ROWS = """
[[profiles.cpu.rows]]
base = "DDIM"
label = "DDIM, {protocol.precision}"
beside = "DDIM"
grid = { protocol.precision = ["bf16", "tf32"] }
"""


def cells(path: Path) -> dict[str, Cell]:
    return {cell.title: cell for cell in cells_of(load_experiment(str(path)), "cpu")}


def test_images_of_another_precision_lie_apart(project: Path) -> None:
    """bf16 moves images by a little, TF32, which the CPU does not have, by nothing; the other rows keep key and columns.

    Catches: a row that is compared with itself (0 for bf16 too), with images of other noise (100 levels), a key that
    does not hold what is compared with.
    """
    path = write_tiny(project)
    before = cells(path)
    path = write_tiny(project, (LAST, LAST + ROWS))
    now = cells(path)
    assert {title: cell.key for title, cell in before.items()} == {title: now[title].key for title in before}
    plain = now["DDIM, bf16 x 2"].with_fields(beside=None, needs=[])
    assert plain.key != now["DDIM, bf16 x 2"].key
    assert plain.sample_key == now["DDIM, bf16 x 2"].sample_key
    assert main(["run", "tiny", "--row", "DDIM, bf16", "--row", "DDIM, tf32"]) == 0
    rows = {row["label"]: row for row in Journal(project / "runs" / "journal" / "tiny-cpu").rows()}
    assert set(rows) == {"DDIM", "DDIM, bf16", "DDIM, tf32"}  # the one that they need came first
    assert 0 < rows["DDIM, bf16"]["metric.image_rms"] < 20
    assert rows["DDIM, bf16"]["metric.image_rms_low"] <= rows["DDIM, bf16"]["metric.image_rms"]
    assert rows["DDIM, tf32"]["metric.image_rms"] == 0
    assert "metric.image_rms" not in rows["DDIM"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('beside = "DDIM"', 'beside = "DDIN"'), "'DDIN x 2'; did you mean 'DDIM x 2'"),
        (("grid =", "protocol.n = 20\ngrid ="), "DDIM x 2 has other images: n and seeds are 16"),
    ],
)
def test_what_it_lies_beside_must_be_there(project: Path, change: tuple[str, str], message: str) -> None:
    """Catches: a row that would be compared with nothing, or image by image with another set."""
    with pytest.raises(InputError, match=message):
        cells(write_tiny(project, (LAST, LAST + ROWS.replace(*change))))
