"""Whatever a text says that somebody wrote, in an experiment, a row or a table of forensics: it is text on the page."""

import json
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from harness.tiny import write_tiny
from report.made_up import opened

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.harness.journal import Record
from replication.report.claims import Evidence, claims_of
from replication.report.page import page
from replication.report.rows import csv_text

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onmouseover='alert(1)", "</script><script>alert(1)//",
    "<!--", "-->", "<!--tiny-cpu-samples.png-->", "]]>", "</style>", "</title><svg onload=alert(1)>", "javascript:alert(1)",
    "{{ 7 * 7 }}", "{% raw %}", "&lt;b&gt;", "&#60;b&#62;", "`<b>`", "``", "\\u003cscript\\u003e", "\u2028", "\x1b[31m", "#a", "a|b", "$x$",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from([*HOSTILE, "x", " ", "é"]), min_size=1, max_size=4).map("".join)
PARTS = {  # what of the experiment's file is text of somebody's, and of one line
    "title": 'title = "tiny"', "paper": '"arXiv:2006.11239"', "name": 'name = "few"', "statement": '"few steps will do"',
    "citation": 'citation = "nobody"', "protocol": 'name = "tiny"\nn = 16', "table": 'table = "Table 1"',
}  # fmt: skip


class Skeleton(HTMLParser):
    """Tags with the names of their attributes, and what links and sources lead to; no text, and no `code` within one."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.targets: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag != "code" or attributes:
            self.tags.append((tag, *(name for name, _ in attributes)))
        self.targets |= {str(value) for name, value in attributes if name in ("href", "src", "action")}

    def handle_endtag(self, tag: str) -> None:
        if tag != "code":
            self.tags.append((f"/{tag}",))


def shown(folder: Path, said: str) -> str:
    """The page of an experiment and of rows in which every text is `said`."""
    line = "".join(c for c in said if c.isprintable()).strip() or "x"
    path = write_tiny(folder, *((old, _with(old, line)) for old in PARTS.values()))
    experiment = load_experiment(str(path))
    cells, rows = cells_of(experiment, "cpu"), {}
    for i, cell in enumerate(cells):
        row: Record = {
            **cell.columns,
            "env.device": said,
            "env.commit": said,
            "checkpoint.given": said,
            f"env.{said}": said,
        }
        row |= {"sampling.nfe": cell.sampling.steps, "metric.fd": 1.0 + i, "metric.fd_low": 0.9, "metric.fd_high": 9.0}
        rows[cell.key] = row | {"metric.fd_se": 0.1, "timing.seconds_per_image": 0.1, "timing.chunks": 7}
    forensics: Record = dict.fromkeys(
        ("choice", "from", "to", "title", "cell", "protocol.name", "protocol.extractor"), said
    )
    forensics |= {"protocol.n": 16, "protocol.reference": said}
    moved: Record = {
        "verdict": "moves it",
        "metric.fd_before": 1.0,
        "metric.fd_after": 2.0,
        "metric.move": 1.0,
        "metric.move_low": 0.5,
        "metric.move_high": 2.0,
        "distance": said,
        "paired": "no",
    }
    (folder / "forensics-tiny.csv").write_text(csv_text([{**forensics, **moved}]), encoding="utf-8")
    return opened(page([Evidence(experiment, "cpu", cells, rows, claims_of(experiment))], folder))


def _with(old: str, line: str) -> str:
    """The piece of TOML with another text in the place of its own."""
    before, _, rest = old.partition('"')
    return f"{before}{json.dumps(line, ensure_ascii=False)}{rest.partition(chr(34))[2]}"


@pytest.fixture(scope="module")
def harmless() -> list[tuple[str, ...]]:
    with TemporaryDirectory() as folder:
        return Skeleton(shown(Path(folder), "x")).tags


@hypothesis.settings(max_examples=15, deadline=None, derandomize=True, database=None)
@hypothesis.given(said=TEXTS)
def test_no_text_becomes_markup(harmless: list[tuple[str, ...]], said: str) -> None:
    """The page has the tags and attributes that it has for "x". Catches: one string that is not escaped, wherever it is."""
    with TemporaryDirectory() as folder:
        found = Skeleton(shown(Path(folder), said))
    assert found.tags == harmless
    assert not [target for target in found.targets if target.lower().startswith("javascript:")]
