"""The table and the verdicts that the README shows: copied from results/ between its markers, never typed."""

import re
from pathlib import Path

_MARKED = re.compile(r"<!-- (table|claim): (\S+) -->\n.*?<!-- end -->", re.DOTALL)


def refreshed(readme: str, folder: Path) -> str:
    """`readme` with what stands between its markers taken from the files they name, below `folder`."""

    def fill(match: re.Match[str]) -> str:
        kind, name = match.groups()
        path = folder / name
        if not path.exists():
            return match.group(0)
        blocks = path.read_text(encoding="utf-8").split("\n\n")
        tables = [block for block in blocks if block.startswith("|")]
        return f"<!-- {kind}: {name} -->\n{tables[0 if kind == 'table' else 1]}\n<!-- end -->"

    return _MARKED.sub(fill, readme)
