"""Reports are pure functions of rows: the same bytes each time, "not run" where there is no row."""

import io
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness.tiny import write_tiny
from matplotlib.figure import Figure
from PIL import Image

from replication.harness.experiment import Experiment, load_experiment
from replication.harness.jobs.cell import Cell, cells_of
from replication.harness.journal import Computed, Journal, Record
from replication.report.claims import Evidence, claims_of, judge, markdown_claim
from replication.report.plots import (
    GAP,
    SIDE,
    TRAINING,
    costs_of,
    curves,
    distance_plot,
    picture_grid,
    refresh,
    training_plot,
)
from replication.report.readme import refreshed
from replication.report.rows import csv_text, read_csv, rows_of
from replication.report.tables import Table, tables_of
from replication.report.write import write_report
from replication.types import InputError, RunError


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.chdir(tmp_path)
    return load_experiment(str(write_tiny(tmp_path)))


@pytest.fixture
def cells(experiment: Experiment) -> list[Cell]:
    return cells_of(experiment, "cpu")


def record(cell: Cell, fd: float, se: float = 0.01, seconds: float = 1.0) -> Record:
    row: Record = {"cell": cell.key, "label": cell.label, "sampling.nfe": cell.sampling.steps, "env.commit": "1e5"}
    row["protocol.n"] = 16
    for name, value in {"metric.fd": fd, "metric.fd_infinity": fd, "metric.kid": fd, "metric.is": 8.0}.items():
        row |= {name: value, f"{name}_low": value - se, f"{name}_high": value + se, f"{name}_se": se / 2}
    row |= {f"timing.seconds_{name}": seconds for name in ("per_image", "low", "high")}
    return {**row, "timing.floor_seconds": seconds / 1.1, "timing.chunks": 7}


@pytest.fixture
def rows(cells: list[Cell]) -> dict[str, Record]:
    ddpm, ddim, sigma_hat = cells
    return {
        ddpm.key: record(ddpm, 1.0, seconds=2.0),
        ddim.key: record(ddim, 2.8, seconds=1.0),
        sigma_hat.key: record(sigma_hat, 11.0),
    }


def test_csv_gives_the_same_rows_back(rows: dict[str, Record], tmp_path: Path) -> None:
    """A commit hash that looks like a number stays text. Catches: types guessed from the content."""
    rows[next(iter(rows))]["metric.nll"] = 0.1 + 0.2
    (tmp_path / "a.csv").write_text(csv_text(list(rows.values())))
    assert {r["cell"]: r for r in read_csv(tmp_path / "a.csv")} == rows


def test_a_csv_of_windows_editors_is_read(rows: dict[str, Record], tmp_path: Path) -> None:
    """Catches: a byte-order mark that becomes part of the first column's name."""
    (tmp_path / "a.csv").write_bytes(csv_text(list(rows.values())).replace("\n", "\r\n").encode("utf-8-sig"))
    assert {r["cell"]: r for r in read_csv(tmp_path / "a.csv")} == rows


ODD = [
    "q(x|y)",
    "_baseline",
    r"$\bm{\epsilon}$-prediction",
    "$",
    "a_b",
    "<b>x</b>",
    "[x](y)",
    "`x`",
    "*x*",
    r"\|",
    "x" * 60,
]


def test_labels_are_text_in_a_markdown_table() -> None:
    """Each is one cell, printed as it is. Catches: a bar that ends the cell, and stress, tags, code and mathematics."""
    table = Table(["label", "figure"], [[label, "1 [0, 2]"] for label in ODD])
    lines = str(table).splitlines()[2:]
    assert [line.rpartition(" | ")[2] for line in lines] == ["1 [0, 2] |"] * len(ODD)
    for label, line in zip(ODD, lines, strict=True):
        cell = line.removeprefix("| ").rpartition(" | ")[0].rstrip()
        assert re.sub(r"\\([\\|`*$<_\]])", r"\1", cell) == label
        assert not re.search(r"(?<!\\)(\\\\)*[|`*$]", cell), cell
    assert str(table).count(r"a_b") == 1


def test_labels_are_text_in_a_plot(cells: list[Cell], rows: dict[str, Record], monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: mathematics that matplotlib cannot parse, and a label that is left out because it begins with "_"."""
    named: list[str] = []
    whole = Figure.legend
    monkeypatch.setattr(Figure, "legend", lambda self, *of, **k: (named.extend(of[1]), whole(self, *of, **k))[1])
    odd = [cell.with_fields(label=label) for cell, label in zip(cells, ODD[:3], strict=True)]
    assert distance_plot([(c, curves(odd, rows, c)) for c in costs_of(rows)], "FD", ODD[2])[:8] == b"\x89PNG\r\n\x1a\n"
    assert named == ODD[:3]
    curve = {"step": [1, 2], **{column: [1e-4, 1.0] for column in TRAINING}}
    assert training_plot([{**curve, "title": label} for label in ODD[:3]], ODD[2])
    assert named == ODD[:3] * 2


def test_damaged_csv_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match=r"a\.csv: not a table of rows .*no column 'cell'"):
        read_csv(tmp_path / "a.csv")


def test_committed_rows_count_only_without_a_journal(
    cells: list[Cell], rows: dict[str, Record], tmp_path: Path
) -> None:
    """Rows of cells that are no longer in the experiment are dropped. Catches: two machines' times in one table."""
    gone = {**next(iter(rows.values())), "cell": "gone"}
    (tmp_path / "a.csv").write_text(csv_text([*rows.values(), gone]))
    journal = Journal(tmp_path / "journal")
    assert list(rows_of(cells, journal, tmp_path / "a.csv")) == [c.key for c in cells]
    journal.write(Computed(record(cells[1], 7.0), b"png"))
    found = rows_of(cells, journal, tmp_path / "a.csv")
    assert list(found) == [cells[1].key]
    assert found[cells[1].key]["metric.fd"] == 7.0


def test_table_shows_interval_and_what_was_not_run(cells: list[Cell], rows: dict[str, Record]) -> None:
    del rows[cells[2].key]
    table = str(tables_of(cells, rows)[""]).splitlines()
    assert "FD-digits" in table[0]
    assert "FID" not in table[0]
    assert "2.8 [2.79, 2.81]" in table[3]
    assert "not run" in table[4]


def test_times_that_do_not_compare_are_marked(cells: list[Cell], rows: dict[str, Record]) -> None:
    """Beside other work, and on another device than the first line without. Catches: all lines marked since the first one was
    disturbed, and the other work of each in the note."""
    busy = {
        "timing.disturbed": 1,
        "timing.other_processors": 3.0,
        "timing.other_switches": 0.0,
        "timing.other_steal": 0.0,
    }
    first, _, third = (cell.key for cell in cells)
    rows |= {first: {**rows[first], **busy}, third: {**rows[third], "env.device": "another"}}
    table = tables_of(cells, rows)[""]
    assert ["§" in line for line in str(table).splitlines()[2:5]] == [True, False, True]
    (note,) = (note for note in table.notes if note.startswith("§"))
    assert note.count("3.00 processors of other work at most") == 1
    assert "against another" in note


def test_report_is_stable_byte_for_byte(
    experiment: Experiment, cells: list[Cell], rows: dict[str, Record], tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    for cell in cells:
        journal.folder.mkdir(exist_ok=True)
        Image.new("L", (80, 8), 128).save(journal.strip_path(cell.key))
    contents = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        files = write_report(Evidence(experiment, "cpu", cells, rows, claims_of(experiment)), journal, folder)
        contents.append({file.name: file.read_bytes() for file in files})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {
        "tiny-cpu.md", "tiny-cpu.csv", "tiny-cpu.tex", "tiny-cpu.png", "tiny-cpu-published.csv", "tiny-cpu-samples.png",
    }  # fmt: skip


def test_strips_are_open_only_while_they_are_read(
    experiment: Experiment, cells: list[Cell], rows: dict[str, Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a report on a thousand rows that ends with too many open files."""
    journal, seen = Journal(tmp_path / "journal"), []
    journal.folder.mkdir()
    for cell in cells:
        Image.new("RGB", (80, 8), "teal").save(journal.strip_path(cell.key))

    def refreshed(path: Path, shown: Any, draw: Callable[[], bytes]) -> None:
        for then in (draw, bytes):
            assert not [f for f in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if f.endswith(".png")]
            then()
        seen.append(path.name)

    monkeypatch.setattr("replication.report.write.refresh", refreshed)
    write_report(Evidence(experiment, "cpu", cells, rows, []), journal, tmp_path / "results")
    assert "tiny-cpu-samples.png" in seen


def test_report_without_rows_says_not_run(experiment: Experiment, cells: list[Cell], tmp_path: Path) -> None:
    found = Evidence(experiment, "cpu", cells, {}, claims_of(experiment))
    files = write_report(found, Journal(tmp_path / "none"), tmp_path / "results")
    assert [f.name for f in files] == ["tiny-cpu.md"]
    assert (
        files[0].read_text().count("not run") == len(cells) + 3
    )  # once more beside the published value, in the answer, and as a verdict's reason
    assert "not tested" in files[0].read_text()


def words(experiment: Experiment, cells: list[Cell], rows: dict[str, Record], profile: str = "cpu") -> dict[str, str]:
    return {v.definition: v.word for v in judge(claims_of(experiment)[0], Evidence(experiment, profile, cells, rows))}


def test_verdict_turns_on_the_definition(experiment: Experiment, cells: list[Cell], rows: dict[str, Record]) -> None:
    """FD 2.8 against 1 is 36 % by ratio, 82 % of the gap from 11: refuted and supported, from the same rows.

    The inception score is the same in all rows, the plainly bad one too. Catches: a definition that cannot fail.
    """
    assert words(experiment, cells, rows) == {
        "FD-digits-infinity ratio": "refuted",
        "KID-digits ratio": "refuted",
        "IS-digits ratio": "does not discriminate",
        "FD-digits-infinity gap closed": "supported",
        "KID-digits gap closed": "supported",
        "speed in NFE": "supported",
        "speed, measured": "supported",
    }
    text = markdown_claim(claims_of(experiment)[0], Evidence(experiment, "cpu", cells, rows))
    assert (
        "**Answer**: Quality: no by distance (36 % [35, 36] by FD-digits-infinity, 36 % [35, 36] by KID-digits), yes by share "
        "of the gap (82 % [82, 82] by FD-digits-infinity, 82 % [82, 82] by KID-digits), "
        "no answer by inception score (100 % [100, 100] by IS-digits) as sigma-hat x 2 passes too. Speed: 2 times in "
        "evaluations (yes) and 2 times in time (yes).\n"
    ) in text


def test_verdict_is_inconclusive_when_the_interval_holds_what_is_needed(
    experiment: Experiment, cells: list[Cell], rows: dict[str, Record]
) -> None:
    """0.76 to 0.84 is needed; 1/1.3 = 0.77 with a wide interval, 1/1.1 = 0.91. Catches: a verdict from the point alone, and
    an "about" on one side.
    """
    for fd, se, word in ((1.3, 0.4, "inconclusive"), (1.3, 1e-4, "supported"), (1.1, 1e-4, "refuted")):
        rows[cells[1].key] = record(cells[1], fd, se)
        assert words(experiment, cells, rows)["FD-digits-infinity ratio"] == word


def test_claim_is_not_tested_without_rows_or_below_its_profile(
    experiment: Experiment, cells: list[Cell], rows: dict[str, Record]
) -> None:
    """Catches: a claim that passes for lack of evidence."""
    below = claims_of(experiment)[0].model_copy(update={"minimum_profile": "paper"})
    assert {v.word for v in judge(below, Evidence(experiment, "cpu", cells, rows))} == {"not tested"}
    del rows[cells[0].key]
    assert set(words(experiment, cells, rows).values()) == {"not tested"}


def test_papers_own_numbers_are_judged_beside_ours() -> None:
    """From DDIM Table 1: 3.17/6.84 = 46 % by ratio, 97 % of the gap closed (published-results, calc)."""
    experiment = load_experiment("ddpm")
    verdicts = judge(claims_of(experiment)[0], Evidence(experiment, "paper", cells_of(experiment, "paper"), {}))
    published = {v.definition: v.published for v in verdicts}
    assert published["FID-infinity ratio"] == pytest.approx(0.463, abs=5e-4)
    assert published["FID-infinity gap closed"] == pytest.approx(0.972, abs=5e-4)
    assert published["IS ratio"] == pytest.approx(8.4744 / 9.4515, abs=5e-4)  # both of xyfJASON's page


def test_readme_takes_table_and_verdicts_from_the_report(tmp_path: Path) -> None:
    """Only what stands between the markers changes. Catches: the wrong table of a page, text lost around it."""
    (tmp_path / "a.md").write_text(
        "# t\n\n| x |\n| 1 |\n\n**Claim `b`**: s\n\n**Answer**: No.\n\n| v |\n| 2 |\n\n**Claim `c`**: s\n\n**Answer**: Yes by x.\n\n"
        "| w |\n\n## More\n\n| z |\n\nend\n"
    )
    (tmp_path / "old.md").write_text("# t\n\n**Claim `b`**: s\n\n| v |\n| 2 |\n")
    markers = {
        "table: a.md": "| x |\n| 1 |",
        "claim: a.md#c": "| w |",
        "table: a.md#More": "| z |",
        "claim: a.md#b": "| v |\n| 2 |",
        "answer: a.md#b": "No.",
        "answer: a.md#c": "Yes by x.",
        "answer: old.md#b": "old",
    }
    before = (
        "".join(f"one\n<!-- {marker} -->\nold\n<!-- end -->\ntwo\n" for marker in markers) + "<!-- table: b.md -->\n"
    )
    after = refreshed(before, tmp_path)
    filled = "".join(f"one\n<!-- {marker} -->\n{text}\n<!-- end -->\ntwo\n" for marker, text in markers.items())
    assert after == filled + "<!-- table: b.md -->\n"
    assert refreshed(after, tmp_path) == after
    with pytest.raises(RunError, match="shows 'd' of a"):
        refreshed("<!-- claim: a.md#d -->\n<!-- end -->", tmp_path)


def test_readme_shows_the_committed_results() -> None:
    """The README's table is that of results/ddpm-cpu.md. Catches: a README that was left behind."""
    folder = Path(__file__).parents[2]
    readme = (folder / "README.md").read_text()
    assert refreshed(readme, folder) == readme
    assert readme.count("FD-digits") > 2


def test_a_picture_is_drawn_again_when_what_it_shows_has_changed(tmp_path: Path) -> None:
    """Catches a picture of yesterday's rows, and one that is drawn at every report."""
    drawn = []

    def draw(level: int) -> bytes:
        drawn.append(level)
        buffer = io.BytesIO()
        Image.new("L", (4, 4), level).save(buffer, format="PNG")
        return buffer.getvalue()

    path = tmp_path / "a.png"
    for shown in (1, 1, 2):
        refresh(path, {"level": shown}, partial(draw, shown))
    assert drawn == [1, 2]
    with Image.open(path) as picture:
        assert (picture.mode, picture.getpixel((0, 0))) == ("L", 2)
    path.write_bytes(b"no picture")
    refresh(path, {"level": 2}, partial(draw, 2))
    assert drawn == [1, 2, 2]


def test_a_grid_shows_every_pixel_as_a_square_beside_its_label() -> None:
    """Catches: pixels that are smoothed or left out, images in another order, a grey grid stored in colour, no label."""
    pixels = np.random.default_rng(0).integers(256, size=(16, 24), dtype=np.uint8)  # two rows of three 8 x 8 images
    strip = Image.fromarray(pixels)
    picture = Image.open(io.BytesIO(picture_grid([("label", strip), ("of two\nlines", strip)], rows=2)))
    assert picture.mode == "L"
    shown, zoom = np.asarray(picture), SIDE // 8
    right = shown.shape[1] - 2 * GAP - (3 * 8 * zoom + 2 * GAP)
    for row, column in ((0, 0), (1, 2)):
        left, top = right + column * (SIDE + GAP), 2 * GAP + row * (SIDE + GAP)
        image = shown[top : top + SIDE, left : left + SIDE]
        np.testing.assert_array_equal(
            image[zoom // 2 :: zoom, zoom // 2 :: zoom], pixels[row * 8 :, column * 8 :][:8, :8]
        )
        assert (np.repeat(np.repeat(image[::zoom, ::zoom], zoom, 0), zoom, 1) == image).all()
    assert (shown[:, : right - GAP] < 128).any(), "letters"
    colours = Image.open(
        io.BytesIO(picture_grid([("a", strip.crop((0, 0, 24, 8))), ("b", Image.new("RGB", (256, 256), "teal"))]))
    )
    assert colours.mode == "RGB"
    assert colours.getpixel((colours.width - 3 * SIDE - 4 * GAP, colours.height - 3 * GAP)) == (0, 128, 128)
    assert colours.height < 400, "a large image is reduced"
