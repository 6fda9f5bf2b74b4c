"""The page: every figure leads to its row, nothing is loaded, and a browser shows it whole on a phone and on a desk."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from harness.tiny import write_tiny
from PIL import Image
from report.chromium import Browser, browser, missing

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.harness.journal import Record
from replication.report.chart import BOTTOM, SHAPES, TOP, Scale, panels
from replication.report.claims import Evidence, claims_of
from replication.report.page import LONG, Text, page, write_page
from replication.report.plots import MARKERS
from replication.report.rows import csv_text

TITLE = 'A <script>alert("title")</script> & more'
LABEL = 'DPM++ 2M with "a long" <b>label</b> & sons'
MORE_ROWS = f"""
[[profiles.cpu.rows]]
label = '{LABEL}'
sampler = {{ name = "ddim", eta = 0.0 }}
spacing = "uniform"
steps = [{", ".join(map(str, range(1, 21)))}]
clip = "none"
[[profiles.cpu.rows]]
label = "again"
sampler = {{ name = "ddim", eta = 0.5 }}
spacing = "uniform"
steps = [3, 5, 7, 11]
clip = "none"
"""
FORENSICS = [
    {
        "choice": "a <b>", "from": "x", "to": "y", "metric.fd_before": 1.0, "metric.fd_after": 2.2, "metric.move": 1.2,
        "metric.move_low": 1.0, "metric.move_high": 1.4, "paired": "no", "verdict": "moves it", "title": "tiny & more",
        "distance": "FD-digits", "cell": "key", "protocol.name": "tiny", "protocol.n": 16,
        "protocol.reference": "digits test", "protocol.extractor": "digits-cnn",
    },
    {
        "choice": "TF32", "verdict": "not changed", "because": "needs CUDA", "title": "tiny & more",
        "distance": "FD-digits", "cell": "key",
    },
]  # fmt: skip


def record(fd: float, steps: int, key: str, label: str) -> Record:
    row: Record = {"experiment": "tiny", "profile": "cpu", "cell": key, "label": label, "sampling.nfe": steps}
    row |= {"protocol.name": "tiny", "protocol.n": 16, "protocol.quantizer": "round", "env.device": "a <fast> machine"}
    for name, value in {"metric.fd": fd, "metric.fd_infinity": fd, "metric.kid": fd / 100, "metric.is": 8.0}.items():
        row |= {name: value, f"{name}_low": value * 0.9, f"{name}_high": value * 1.1, f"{name}_se": value * 0.05}
    row |= {f"timing.seconds_{name}": steps / 1000 for name in ("per_image", "low", "high")}
    return {**row, "timing.chunks": 7}


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
    folder = tmp_path_factory.mktemp("results")
    Image.effect_noise((900, 300), 50).save(folder / "tiny-cpu-samples.png")
    Image.new("RGB", (1200, 400), "orange").save(folder / "forensics-tiny.png")
    (folder / "forensics-tiny.csv").write_text(csv_text(FORENSICS))
    return folder


@pytest.fixture(scope="module")
def text(evidence: list[Evidence], results: Path) -> str:
    return page(evidence, results)


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


def test_the_same_evidence_gives_the_same_bytes(evidence: list[Evidence], results: Path, text: str) -> None:
    path = write_page(evidence, results)
    assert path.name == "index.html"
    assert path.read_text() == text == page(evidence, results)


def test_nothing_is_loaded_from_anywhere(text: str) -> None:
    """Pictures are in the file; links lead to its own parts and, if followed, to papers. Catches a style sheet by URL."""
    elements = Elements(text)
    assert elements.values("src")
    assert all(source.startswith("data:image/png;base64,") for source in elements.values("src"))
    assert all(re.match(r"#|data:|https://arxiv\.org/abs/", target) for target in elements.values("href"))
    assert not re.search(r"@import|url\(|fetch\(|XMLHttp", text)


def test_ids_are_unique_and_every_link_has_its_target(text: str) -> None:
    elements = Elements(text)
    ids = elements.values("id")
    assert len(ids) == len(set(ids))
    named = [target[1:] for target in elements.values("href") if target.startswith("#")]
    assert {*named, *elements.values("aria-describedby")} <= set(ids)


def test_every_figure_of_a_row_leads_to_the_whole_row(evidence: list[Evidence], text: str) -> None:
    """The row has each of its columns in full. Catches a rounded value, a metric left out, a link to another row."""
    for cell in evidence[0].cells:
        found = re.search(rf'<tr id="tiny-cpu-{cell.key[:12]}".*?(?=<tbody|</table>)', text, re.DOTALL)
        if cell.key not in evidence[0].rows:
            assert found is None
            continue
        assert found is not None
        line, _, whole = found[0].partition('class="record"')
        assert len(re.findall(r"<a ", line)) == line.count(f'href="#tiny-cpu-{cell.key[:12]}-row"') >= 6
        for column, value in evidence[0].rows[cell.key].items():
            name = column.partition(".")[2] or column
            shown = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;")
            assert f"<dt>{name}<dd>{shown}" in whole


def test_what_a_paper_prints_stands_in_the_row(text: str) -> None:
    assert "<dt>fd<dd>6.84 (" in text
    assert "<h3>Paper against measured</h3>" in text


def test_words_from_files_are_no_markup(text: str) -> None:
    """Titles, labels, devices and reports are escaped. Catches a `|safe` too many."""
    tags = [tag for tag, _ in Elements(text).tags]
    assert tags.count("script") == 1
    assert "fast" not in tags
    assert "<b>label" not in text
    assert "a &lt;b&gt;" in text


def test_a_report_of_forensics_is_made_of_its_rows(text: str) -> None:
    """Table, picture, what was not changed. Catches a page that waits for the Markdown file, or shows its markup."""
    section = text[text.index('<section id="forensics-tiny">') :]
    section = section[: section.index("</section>")]
    assert "<h2>Which choice moves FD-digits, and how far: tiny &amp; more (forensics-tiny)</h2>" in section
    assert "+1.2 <small>[+1, +1.4]</small>" in section
    assert "needs CUDA" in section
    assert 'class="plot"' in section
    assert "**" not in section


def test_unrun_tables_are_named_and_take_no_section(text: str) -> None:
    assert "replicate run tiny --profile gpu" in text
    assert 'id="tiny-gpu"' not in text
    assert "not run" in text


def test_profiles_that_say_nothing_are_left_out_of_a_judged_claim(evidence: list[Evidence], results: Path) -> None:
    """Judged on cpu, without rows on gpu: one reading. Without rows on both: one that says so."""
    judged, untested = (
        re.search(r'<div class="board">.*?</section>', page(found, results), re.DOTALL)
        for found in (evidence, evidence[1:])
    )
    assert judged is not None
    assert untested is not None
    assert judged[0].count("<table") == untested[0].count("<table") == 1
    assert "is not run" not in judged[0]
    assert 'class="pill not-tested">not tested' in untested[0]


def test_the_answer_stands_at_the_top_and_in_the_list(evidence: list[Evidence], results: Path) -> None:
    """Before any claim is opened. Catches: an answer that is found in a table alone."""
    text = page(evidence, results)
    answer = "2 times in evaluations (yes) and 2 times in time (yes)."
    head, board = text.split("</header>")[0], re.findall("<summary>.*?</summary>", text, re.DOTALL)
    assert answer in head
    assert any(answer in summary for summary in board)


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


# ---------------------------------------------------------------- in a browser

WIDTHS = {"phone": 390, "desk": 1440}
TAB = "\ue004"
FIRST_FIGURE = "#tiny-cpu .measured tbody td a:not([tabindex])"
SMALLEST, CONTRAST = 9.0, 4.5  # CSS pixels; the ratio that WCAG's level AA asks of text

# (text, size on the screen, contrast with what is behind it) of every piece of visible text
LOOKS = """
  const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => { const [r, g, b] = numbers(colour).map(channel); return .2126 * r + .7152 * g + .0722 * b };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor, parts = numbers(colour);
      if (parts.length < 4 || parts[3] === 1) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    if (["SCRIPT", "STYLE", "title"].includes(element.tagName)) continue;
    const style = getComputedStyle(element), scale = element.ownerSVGElement?.getScreenCTM().a ?? 1;
    const colours = [element.ownerSVGElement ? style.fill : style.color, behind(element)].map(light).sort((a, b) => b - a);
    found.push([node.data.trim(), parseFloat(style.fontSize) * scale, (colours[0] + 0.05) / (colours[1] + 0.05)]);
  }
  return found;
"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    if absent := missing():
        pytest.skip(f"{absent} not installed (Debian: chromium, chromium-driver)")
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def path(evidence: list[Evidence], results: Path) -> Path:
    return write_page(evidence, results)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_page_is_whole_and_legible(tab: Browser, path: Path, width: int, dark: bool) -> None:
    """Catches a table wider than the page, a script that fails, a request, a picture that is none, grey on grey."""
    tab.requests(), tab.console()
    tab.open(path, width, dark=dark)
    tab.run("for (const part of document.querySelectorAll('details')) part.open = true")
    tab.run("location.hash = document.querySelector('td a').hash")
    assert tab.run(
        "return document.documentElement.scrollWidth <= innerWidth && document.body.scrollWidth <= innerWidth"
    )
    assert tab.run("return document.title")
    assert tab.run("return [...document.images].filter(i => !i.alt || !i.decode || i.loading !== 'lazy').length") == 0
    tab.run("for (const image of document.images) image.scrollIntoView()")
    assert tab.run(
        "return Promise.all([...document.images].map(i => i.decode())).then(() => [...document.images].every(i => i.naturalWidth))"
    )
    looks = tab.run(LOOKS)
    assert len(looks) > 100
    assert [look for look in looks if look[1] < SMALLEST] == []
    assert [look for look in looks if look[2] < CONTRAST] == []
    assert {r for r in tab.requests() if not r.startswith(("data:", "about:"))} <= {path.as_uri()}
    assert tab.console() == []


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_figure_shows_its_protocol_and_leads_to_its_row(tab: Browser, path: Path, width: int) -> None:
    """By pointer and by keyboard. Catches a card that stays, one off the screen, a row that never opens."""
    tab.open(path, width)
    card = """
      const card = document.querySelector('#tiny-cpu .tip0'), box = card.getBoundingClientRect();
      return getComputedStyle(card).visibility === 'visible' && card.textContent.includes('quantizer round')
        && box.left >= 0 && box.top >= 0 && box.right <= innerWidth && box.bottom <= innerHeight;
    """
    assert not tab.run(card)
    tab.point(FIRST_FIGURE)
    assert tab.run(card)
    tab.point("#tiny-cpu h2")
    assert not tab.run(card)
    tab.run("document.querySelector('#tiny-cpu .measured .scroll').focus()")
    for _ in range(20):
        tab.press(TAB)
        if tab.run(f"return document.activeElement.matches({FIRST_FIGURE!r})"):
            break
    assert tab.run(card)
    row = "document.querySelector('#tiny-cpu .record').getBoundingClientRect()"
    assert tab.run(f"return {row}.height") == 0
    tab.click(FIRST_FIGURE)
    assert tab.run(f"return {row}.height > 200 && {row}.top > 0 && {row}.top < innerHeight / 2")
    assert tab.run("return document.querySelector('.record:target').textContent.includes('12.3456789')")
    tab.click("#tiny-cpu .record:target .close")
    assert tab.run(f"return {row}.height") == 0
    assert tab.console() == []


def test_columns_sort_by_number_and_back(tab: Browser, path: Path) -> None:
    """Catches 10 before 2, and rows without a figure on top."""
    tab.open(path, WIDTHS["desk"])
    column = "[...document.querySelectorAll('#tiny-cpu .measured tbody')].map(b => b.rows[0].cells[4].innerText.split(' ')[0])"
    head = "document.querySelectorAll('#tiny-cpu .measured th button')[4].click()"
    written = tab.run(f"return {column}")
    assert len(written) > LONG
    up = tab.run(f"{head}; return {column}")
    assert [float(value) for value in up[:-1]] == sorted(float(value) for value in written[:-1])
    down = tab.run(f"{head}; return {column}")
    assert [float(value) for value in down[:-1]] == [float(value) for value in up[:-1]][::-1]
    assert up[-1] == down[-1] == "not"
    assert tab.run(f"{head}; return {column}") == written


def test_link_to_a_claim_opens_it(tab: Browser, path: Path) -> None:
    tab.open(path, WIDTHS["desk"])
    tab.click("#tiny-cpu .judged a")
    assert tab.run("return document.querySelector('#claim-tiny-few').closest('details').open")


def test_page_says_the_same_without_its_script(tab: Browser, path: Path, tmp_path: Path) -> None:
    """A number still opens its row. Catches contents that only the script makes."""
    plain = tmp_path / "plain.html"
    plain.write_text(re.sub(r"<script>.*?</script>", "", path.read_text(), flags=re.DOTALL))
    tab.open(plain, WIDTHS["desk"])
    tab.click(FIRST_FIGURE)
    assert tab.run("return document.querySelector('.record:target').getBoundingClientRect().height > 200")
