"""The page: the answer comes first, every figure leads to its row, and nothing is loaded from anywhere."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from report.made_up import PLACES, of_seeds, opened, unpacked
from report.page_rows import record

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.harness.journal import Record
from replication.report.board import bars, board, headline, sentence
from replication.report.chart import BOTTOM, SHAPES, TOP, Scale, panels
from replication.report.claims import Evidence, Verdict, claims_of
from replication.report.claims.verdict import Answer, Range
from replication.report.page import Text, page, write_page
from replication.report.plots import MARKERS, Cost, curves, families, fit, looks


@pytest.fixture(scope="module")
def written(evidence: list[Evidence], results: Path) -> str:
    return page(evidence, results)


@pytest.fixture(scope="module")
def text(written: str) -> str:
    return opened(written)


class Elements(HTMLParser):
    """The tags with their attributes, and the text below each id."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def values(self, name: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(name)) is not None]


def test_the_same_evidence_gives_the_same_bytes(evidence: list[Evidence], results: Path, written: str) -> None:
    path = write_page(evidence, results)
    assert path.name == "index.html"
    assert path.read_text() == written == page(evidence, results)


def test_nothing_is_loaded_from_anywhere(text: str, results: Path) -> None:
    """Pictures are in the file; links lead to its own parts, to files beside it and to papers. Catches a style sheet by URL."""
    elements = Elements(text)
    assert elements.values("src")
    assert all(re.match("data:image/(png|webp);base64,", source) for source in elements.values("src"))
    elsewhere = [
        target for target in elements.values("href") if not re.match(r"#|data:|https://arxiv\.org/abs/", target)
    ]
    assert elsewhere
    assert all((results / target).is_file() and "/" not in target for target in elsewhere)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttp", text)


def test_the_policy_allows_its_own_style_and_script_alone(text: str) -> None:
    """By their hashes; no attribute may have either. Catches 'unsafe-inline', and a hash of another text."""
    elements = Elements(text)
    (policy,) = (value for value in elements.values("content") if "default-src" in value)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" in policy
    assert not [
        name for _, attributes in elements.tags for name in attributes if name == "style" or name.startswith("on")
    ]


def test_pictures_have_their_size_and_go_in_while_there_is_room(
    evidence: list[Evidence], results: Path, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: a link that lands elsewhere once a picture is there, a page without limit, a picture that is lost."""
    of = 'src="data:image/'
    images = [attributes for tag, attributes in Elements(written).tags if tag == "img"]
    assert [(image["width"], image["height"]) for image in images] == [("900", "300"), ("1200", "400")]
    assert written.count(of) == 2
    monkeypatch.setattr("replication.report.page.SIZE", len(written) - 10)
    smaller = page(evidence, results)
    assert smaller.count(of) == 1
    assert len(smaller) < len(written) - 10
    assert smaller.count('href="tiny-cpu-samples.png"') == smaller.count('href="forensics-tiny.png"') == 1


def test_ids_are_unique_and_every_link_has_its_target(text: str) -> None:
    elements = Elements(text)
    ids = elements.values("id")
    assert len(ids) == len(set(ids))
    named = [target[1:] for target in elements.values("href") if target.startswith("#")]
    assert {*named, *elements.values("aria-describedby")} <= set(ids)


def whole_rows(text: str) -> dict[str, dict[str, str]]:
    """By anchor: a row's columns, with those that all rows have in common."""
    found = {}
    for stem, content in re.findall(r'<script type="application/zlib" id="(.*?)-rows">(.*?)</script>', text, re.DOTALL):
        data = json.loads(unpacked(content))
        for key, *values in zip(data["keys"], *data["columns"].values(), strict=True):
            found[f"{stem}-{key}"] = data["shared"] | dict(zip(data["columns"], values, strict=True))
    return found


def test_every_row_leads_to_all_of_it(evidence: list[Evidence], text: str) -> None:
    """Each of its columns to six digits, and hashes to twelve. Catches a metric left out, a value of another row, a row
    without a link."""
    whole = whole_rows(text)
    for cell in evidence[0].cells:
        anchor = f"tiny-cpu-{cell.key[:12]}"
        if cell.key not in evidence[0].rows:
            assert anchor not in text
            continue
        assert text.count(f'<tr id="{anchor}"') == 1
        assert text.count(f'<th scope="row"><a href="#{anchor}">') >= 1
        for column, value in evidence[0].rows[cell.key].items():
            shown = whole[anchor][column]
            expected = f"{value[:12]}…" if re.fullmatch("[0-9a-f]{64}", str(value)) else str(value)
            assert float(shown) == pytest.approx(value, rel=1e-5) if isinstance(value, float) else shown == expected


def test_what_a_paper_prints_stands_in_the_row(text: str) -> None:
    assert any(row.get("published.fd", "").startswith("6.84 (") for row in whole_rows(text).values())
    assert re.search(r"<summary>Paper against measured, \d+ values</summary>", text)


def test_a_report_of_forensics_is_made_of_its_rows(text: str) -> None:
    """Table, picture, what was not changed. Catches a page that waits for the Markdown file, or shows its markup."""
    section = text[text.index('<section id="forensics-tiny">') :]
    section = section[: section.index("</section>")]
    assert "<h2>Which choice moves FD-digits, and how far: tiny &amp; more (forensics-tiny)</h2>" in section
    assert "+1.2 <small>[+1, +1.4]</small>" in section
    assert "needs CUDA" in section
    assert 'alt="every move with its 95 % interval"' in section
    assert "**" not in section


def test_unrun_tables_are_named_and_take_no_section(text: str) -> None:
    assert "replicate run tiny --profile gpu" in text
    assert 'id="tiny-gpu"' not in text
    assert "not run" in text


def test_a_table_that_is_too_long_says_so(
    evidence: list[Evidence], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches rows that are left out in silence."""
    monkeypatch.setattr("replication.report.page.ROWS", 5)
    short = page(evidence, results)
    assert f"The first 5 of {len(evidence[0].cells)} cells" in short
    assert len(whole_rows(short)) == 5


def test_profiles_that_say_nothing_are_left_out_of_a_judged_claim(evidence: list[Evidence], results: Path) -> None:
    """Judged on cpu, without rows on gpu: one reading. Without rows on both: one that says so."""
    judged, untested = (
        re.search(r'<section id="claims">.*?</section>', opened(page(found, results)), re.DOTALL)
        for found in (evidence, evidence[1:])
    )
    assert judged is not None
    assert untested is not None
    assert judged[0].count("<table") == untested[0].count("<table") == 1
    assert "is not run" not in judged[0]
    assert 'class="pill not-tested">not tested' in untested[0]


def test_the_answer_stands_at_the_top_and_in_the_list(text: str) -> None:
    """Before any claim is opened: quality apart from speed, on what, and how sure. Catches an answer in a table alone."""
    head, summaries = text.split("</header>")[0], re.findall("<summary>.*?</summary>", text, re.DOTALL)
    board = next(summary for summary in summaries if "2 times in evaluations" in summary)
    for shown in (head, board):
        plain = " ".join(re.sub("<[^>]+>", " ", shown).split())
        assert "Quality" in plain
        assert "Speed Yes : 2 times in evaluations (yes) and 2 times in time (yes)." in plain
        assert "on digits, 8 × 8 grey" in plain
    assert "Not run yet on digits, 8 × 8 grey: <code>replicate run tiny --profile gpu</code>" in head


def test_the_larger_images_come_first(results: Path) -> None:
    """Photographs before digits wherever both have rows, then the most images. Catches an order by the name of the profile."""
    experiment = load_experiment("ddpm")
    claims = claims_of(experiment)[:1]
    both = []
    for profile in ("cpu", "gpu"):
        cells = cells_of(experiment, profile, check=False)
        steps = {cell.key: cell.sampling.steps for cell in cells}
        rows = {cell.key: record(1 + 50 / steps[cell.key], steps[cell.key], cell.key, cell.label) for cell in cells}
        both.append(Evidence(experiment, profile, cells, rows, claims))
    assert [reading["profiles"] for reading in board(both)[0]["readings"]] == [["gpu"], ["cpu"]]
    text = page(both, results)
    head = text.split("</header>")[0]
    photographs, digits = "on cifar10, 32 × 32 colour", "on digits, 8 × 8 grey"
    assert len(re.findall("How sure.*?95\\s% intervals from [-.0-9]+ to [-.0-9]+", head)) >= 2
    assert 0 < head.index(photographs) < head.index(digits)
    assert text.index('<section id="ddpm-gpu"') < text.index('<section id="ddpm-cpu"')
    assert "Not run yet" not in head
    alone = page([both[0], replace(both[1], rows={}, verdicts={})], results).split("</header>")[0]
    assert photographs not in alone.split("Not run yet on")[0]
    assert alone.count("Not run yet on cifar10, 32 × 32 colour") == 1
    first, *others = board(both)
    special = first | {"claim": SimpleNamespace(statement=f"{first['claim'].statement}, on latents")}
    shown = [reading["on"] for reading in headline([first, special, *others])["readings"]]
    assert shown == [photographs, f"{photographs}, on latents", digits, f"{digits}, on latents"]
    of_more = [reading | {"size": (reading["size"][0], reading["size"][1] + 1)} for reading in special["readings"]]
    shown = [reading["on"] for reading in headline([first, special | {"readings": of_more}, *others])["readings"]]
    assert shown == [f"{photographs}, on latents", photographs, f"{digits}, on latents", digits]


def test_a_claim_is_in_the_group_of_its_answer(evidence: list[Evidence], results: Path) -> None:
    """Catches: one that is open because nothing was run, and one that is answered while a reading is undecided."""
    of = {name: [] for name in ("answered", "open", "untested")}
    for judged in (*board(evidence), *board(evidence[1:])):
        of[judged["group"]].append({answer.lead for reading in judged["readings"] for answer in reading["answers"]})
    assert of["untested"]
    assert all(leads <= {"not tested", "no answer"} for leads in of["untested"])
    assert all("undecided" in leads for leads in of["open"])
    assert all(leads <= {"yes", "no", "yes and no", "no answer", "not tested"} for leads in of["answered"])


@pytest.mark.parametrize(
    ("text", "lead", "expected"),
    [
        ("Yes: a is 2.", "yes", ("Yes", ": a is 2.")),
        ("undecided by distance, no by b.", "undecided", ("Undecided", " by distance, no by b.")),
        ("No by a, yes by b.", "yes and no", ("Yes and no", ": no by a, yes by b.")),
        ("50 times (yes).", "yes", ("Yes", ": 50 times (yes).")),
        ("FD is 3 %.", "yes", ("Yes", ": FD is 3\u00a0%.")),
        ("Nothing is known.", "no", ("No", ": nothing is known.")),
        ("Not tested: too small.", "not tested", ("Not tested", ": too small.")),
        ("No answer by distance.", "no answer", ("No answer", " by distance.")),
    ],
)
def test_an_answer_begins_with_its_lead(text: str, lead: str, expected: tuple[str, str]) -> None:
    assert sentence(text, lead) == expected


def test_bars_of_an_answer_share_a_scale() -> None:
    """0, 1 and 2 of 0 to 2, with the band where it is needed. Catches a scale for each bar, and one without its zero."""
    needed = Range(0.5, 1.0)
    verdicts = [
        Verdict("a", "", needed, 2.0, value=1.0, low=0.5, high=2.0, word="inconclusive"),
        Verdict("b", "", needed, None, value=2.0, word="refuted"),
        Verdict("c", "", needed, None),
    ]
    one, other = bars(Answer("quality", "t", "t", verdicts, share=True))
    assert (one.figure, other.figure) == ("100 % [50, 200]", "200 %")
    assert (one.at, one.ends, one.published) == (49.0, (24.5, 98.0), 98.0)
    assert (other.at, other.ends, other.published) == (98.0, (98.0, 98.0), None)
    assert one.needed == other.needed == (24.5, 24.5)
    assert bars(Answer("", "t", "t", [replace(verdicts[0], needed=Range(low=1.0))])) == []
    below = replace(verdicts[0], needed=Range(-1.0, -0.5, open=True), value=-1.0, low=-2.0, high=-0.5, published=None)
    (bar,) = bars(Answer("", "t", "t", [below]))
    assert (bar.at, bar.ends, bar.needed) == (50.0, (0.0, 75.0), (50.0, 25.0)), "of -2 to 0"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("0.665 [0.454, 0.975]", Text("0.665", "[0.454, 0.975]", "number")),
        ("4.436 ± 0.099", Text("4.436", "± 0.099", "number")),
        ("-0.03", Text("-0.03", "", "number")),
        ("supported †", Text("supported †", "", "supported")),
        ("not run", Text("not run", "", "words")),
        ("x0+eps", Text("x0+eps", "", "words")),
    ],
)
def test_what_a_cell_of_a_table_is(cell: str, expected: Text) -> None:
    assert Text.of(cell) == expected


def test_scale_is_logarithmic_and_keeps_what_it_cannot_show_at_its_edge() -> None:
    """1, 10, 100 are equally far apart, to the printed 0.1 unit; a bound of 0 has no logarithm. Catches a linear axis."""
    scale = Scale(1, 100, BOTTOM, TOP)
    low, middle, high = (float(scale(value)) for value in (1, 10, 100))
    assert middle - low == pytest.approx(high - middle, abs=0.2)
    assert float(scale(0)) == float(scale(-3)) == low == BOTTOM
    assert [label for _, label in scale.ticks()] == ["1", "2", "5", "10", "20", "50", "100"]
    assert [label for _, label in Scale(1, 1000, BOTTOM, TOP).ticks() if label] == ["1", "10", "100", "1000"]
    assert Scale.over([0.0, -1.0], BOTTOM, TOP).low > 0


def test_chart_has_every_row_once_and_a_shape_for_every_marker(evidence: list[Evidence]) -> None:
    assert set(SHAPES) >= set(MARKERS)
    for panel in panels(evidence[0].cells, evidence[0].rows):
        points = [point for series in panel.series for point in series.points]
        assert sorted(key for _, _, key in points) == sorted(evidence[0].rows)
        assert all(TOP <= float(y) <= BOTTOM for _, y, _ in points)


def test_families_are_what_labels_begin_with() -> None:
    """Catches a family for each step of a size, and two samplers that share a word alone."""
    labels = ["DDPM", "DDPM, fixed-small", "Euler ancestral", "Euler", "DPM++ 2M", "DPM++ 2M SDE", "DPM-Solver-2",
              "DiT-S/4", "DiT, 1x, seed 0", "U-Net, 8x, seed 2", "f = 2", "guidance 1.5", "20 steps"]  # fmt: skip
    assert list(families(labels).values()) == [
        "DDPM", "DDPM", "Euler", "Euler", "DPM++", "DPM++", "DPM-Solver", "DiT-S", "DiT", "U-Net", "f", "guidance", "20 steps",
    ]  # fmt: skip
    found = looks(labels)
    assert found["Euler"].colour == found["Euler ancestral"].colour
    assert found["Euler"].dash != found["Euler ancestral"].dash
    many = looks([f"{first}{second}" for first in "abcdefgh" for second in "klmno"])  # each a family of its own
    for looked in (found, many):  # a dash is not seen where a line has one point
        assert len({(look.colour, look.marker) for look in looked.values()}) == len(looked)


def test_trainings_with_several_seeds_are_families_about_their_power_law() -> None:
    """FD = 8 x^-1 with three seeds within a factor of it. Catches 24 lines of one point, and a fit through the first seed."""
    law, seeds = 8 / PLACES, np.tile([0.5, 1.0, 2.0], 4)
    of = of_seeds(law * seeds, 2 * law * seeds)
    rows = {key: row | record_of(row) for key, row in of.rows.items()}
    (panel,) = panels(of.cells, rows)
    assert [(s.label, s.look.family, len(s.points)) for s in panel.series] == [
        ("DiT", "DiT", 12),
        ("U-Net", "U-Net", 12),
    ]
    assert all(s.exponent == pytest.approx(1.0) for s in panel.series)
    assert all(s.band.count("L") == 7 and s.line.count("L") == 1 for s in panel.series)
    compute = Cost("cost.image_multiply_adds", 1.0, "")
    (curve, _) = curves(of.cells, rows, compute)
    found = fit(curve, compute)
    assert found is not None
    assert found.ends == ((1.0, pytest.approx(8.0)), (8.0, pytest.approx(1.0)))
    assert found.band[0] == (1.0, pytest.approx(4.0), pytest.approx(16.0))


def record_of(row: Record) -> Record:
    """What a chart reads of a row, of its distance without bias."""
    fd = row["metric.fd_infinity"]
    return {
        "metric.fd": fd,
        "metric.fd_low": fd,
        "metric.fd_high": fd,
        "cost.image_multiply_adds": row["cost.multiply_adds"],
    }


def test_answers_that_differ_between_images_are_said_to(results: Path) -> None:
    """On top and in the list of claims. Catches an answer on photographs beside the opposite one on digits without a word."""
    experiment = load_experiment("ddpm")
    claims = claims_of(experiment)[:1]

    def judged(of_gpu: float) -> list[Evidence]:
        found = []
        for profile, candidate in (("cpu", 1.25), ("gpu", of_gpu)):
            cells = cells_of(experiment, profile, check=False)
            rows = {}
            for cell in cells:
                fd = {1000: 1.0, 20: candidate if cell.label == "DDIM" else 100.0}.get(cell.sampling.steps, 50.0)
                rows[cell.key] = record(fd, cell.sampling.steps, cell.key, cell.label)
            found.append(Evidence(experiment, profile, cells, rows, claims))
        return found

    said = "The answers on cifar10, 32 × 32 colour and on digits, 8 × 8 grey differ."
    text = page(judged(10.0), results)
    assert said in text.split("</header>")[0]
    assert text.count(said) == 2
    assert said not in page(judged(1.25), results)


def test_it_opens_with_photographs_where_there_are_some(evidence: list[Evidence], tmp_path: Path, text: str) -> None:
    """Above the answer. Catches a picture that is not found, and a gap where there is none."""
    Image.new("RGBA", (320, 32), "teal").save(tmp_path / "photographs.png")
    head = page(evidence, tmp_path).split("</header>")[0]
    assert head.index("photographs.png") < head.index("<h1>")
    assert 'src="data:image/webp' in head
    assert "<figure" not in text.split("</header>")[0]
