"""The pages for readers: links lead somewhere, Python blocks run, commands are accepted, TOML blocks are experiments."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from replication.harness.experiment import load_experiment
from replication.harness.job import jobs_of
from replication.metrics.metric import metrics
from replication.report.claims import claims_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/*.md"))
_FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in _FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as Markdown renderers spell them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def commands() -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    shown = [line.partition("#")[0].strip().removeprefix(".venv/bin/") for line in lines]
    return sorted({line for line in shown if line.startswith("replicate ")})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Catches a page or a picture that was moved, and a heading that was renamed."""
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    """In a fresh interpreter and an empty folder, one after the other. Catches a name of the interface that was changed."""
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page, "python")), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=_environment(), capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.mark.parametrize("command", commands())
def test_commands_are_accepted(command: str) -> None:
    """The parser takes each command line as it is printed. Catches an option or a command that was renamed."""
    from replication.commands.parser import parser

    if "--help" not in command:
        parser().parse_args(shlex.split(command)[1:])


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "toml")], ids=lambda page: page.name)
def test_toml_blocks_are_valid(page: Path, tmp_path: Path) -> None:
    """A whole experiment is loaded with its claims and jobs. Catches a key of the language that was changed."""
    for block in blocks(page, "toml"):
        if "title" in tomllib.loads(block):
            file = tmp_path / "example.toml"
            file.write_text(block, encoding="utf-8")
            experiment = load_experiment(str(file))
            assert claims_of(experiment)
            assert jobs_of(experiment, "cpu")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_metrics_are_listed_as_they_are() -> None:
    """Catches a metric that readers are not shown, and a version, a direction or an interval that has changed since."""
    page = (ROOT / "docs" / "reading-the-tables.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `\w+` \| \d+ \|.*$", page, re.MULTILINE)
    assert set(listed) == {f"| `{m.name}` | {m.version} | {m.direction} | {m.unit} | {m.interval} |" for m in metrics()}
