"""mkdocs hook: the page "The papers" is made of the docstrings of the papers' folders: a new paper brings its own section."""

import ast
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1] / "replication"
PAGE = "papers.md"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page's own text, followed by one section for each paper."""
    return markdown if page.file.src_uri != PAGE else "\n\n".join([markdown, *map(section, papers())])


def papers() -> list[Path]:
    """The folders whose docstring begins with a citation, "Ho, Jain and Abbeel 2020, ... (arXiv:2006.11239)"."""
    return sorted(file for file in PACKAGE.glob("*/__init__.py") if "(arXiv:" in docstring(file).partition("\n")[0])


def section(file: Path) -> str:
    """A heading, the citation, and the table of equations and files."""
    citation, _, rest = docstring(file).partition("\n")
    return f"## {file.parent.name}\n\n{citation}\n\n```text\n{rest.strip(chr(10))}\n```"


def docstring(file: Path) -> str:
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
