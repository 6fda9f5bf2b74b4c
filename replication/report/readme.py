"""The tables, verdicts and answers that the README shows: copied from results/ between its markers, never typed.

<!-- table: results/ddpm-cpu.md -->                    the report's first table
<!-- table: results/ldm-cpu.md#First stages -->        the one under that heading
<!-- claim: results/ddpm-cpu.md#ddim-20 -->            the verdicts on that claim
<!-- answer: results/ddpm-cpu.md#ddim-20 -->           its answer, in one sentence
"""

import re
from pathlib import Path

from replication.report.claims import ANSWER
from replication.types import RunError

_MARKED = re.compile(r"<!-- (table|claim|answer): ([^\n#]+?)(?:#([^\n]+?))? -->\n.*?<!-- end -->", re.DOTALL)


def refreshed(readme: str, folder: Path) -> str:
    """`readme` with what stands between its markers taken from the files they name, below `folder`.

    A file that is not there leaves its marker as it is, and so does a report without answers, of an earlier version.
    Raises RunError for a heading or claim that a file lacks.
    """

    def fill(match: re.Match[str]) -> str:
        kind, name, which = match.groups()
        path = folder / name
        if not path.exists():
            return match.group(0)
        blocks = path.read_text(encoding="utf-8").split("\n\n")
        start = f"## {which}" if kind == "table" else f"**Claim `{which}`**"
        first = next((i for i, block in enumerate(blocks) if not which or block.lstrip().startswith(start)), None)
        if first is None:
            raise RunError(f"README.md shows {which!r} of {name}, which is not there: change the marker")
        begins = ANSWER if kind == "answer" else "|"
        shown = next((block for block in blocks[first:] if block.startswith(begins)), None)
        if shown is None:
            return match.group(0)
        return f"<!-- {kind}: {name}{f'#{which}' if which else ''} -->\n{shown.removeprefix(ANSWER)}\n<!-- end -->"

    return _MARKED.sub(fill, readme)
