"""What a terminal is shown of a text with Markdown tables: tables that fit, words in colour. Files and pipes get all of it.

Columns that are too wide are cut, the last ones left out (but not the verdict) and long tables ended, each with a line that
says so and how to have it all. No colour where NO_COLOR is set (no-color.org) or TERM is dumb.
"""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from itertools import groupby

NARROW = 12  # characters that a column keeps at least
ROWS = 40  # of a table
KEPT = ("verdict", "state", "so")  # columns that a table is read for
COLOURS = {
    32: ("supported", "reproduced", "equal to 4 digits", "inside the interval", "done"),
    31: ("refuted", "not reproduced", "outside the interval"),
    33: ("inconclusive", "does not discriminate", "not tested", "stale", "to run"),
}
_COLOUR_OF = {word: colour for colour, words in COLOURS.items() for word in words}
# where a cell or a line begins with one of them
_WORD = re.compile(rf"(^|\| )({'|'.join(sorted(_COLOUR_OF, key=len, reverse=True))})\b", re.MULTILINE)
_CELL = re.compile(r"(?<!\\) \| ")
_ESCAPE = re.compile(r"\\([^\w\s])")  # what Markdown needs and a terminal does not


def show(text: object, whole: bool = False) -> None:
    """Print it; `whole`: tables as they are."""
    shown = str(text)
    if sys.stdout.isatty():
        shown = shown if whole else fitted(shown, shutil.get_terminal_size().columns)
        shown = _ESCAPE.sub(r"\1", coloured(shown) if has_colour() else shown)
    print(shown, flush=True)


def has_colour() -> bool:
    """Whether whoever reads this wants it."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str) -> str:
    """The words of verdicts and states in colour, where a cell or a line begins with one."""
    return _WORD.sub(lambda found: f"{found[1]}\033[{_COLOUR_OF[found[2]]}m{found[2]}\033[0m", text)


def fitted(text: str, width: int) -> str:
    """The text with each of its Markdown tables in lines of that many characters at most."""
    parts = []
    for is_table, group in groupby(text.split("\n"), lambda line: line.startswith("| ")):
        lines = list(group)
        parts += _table(lines, width) if is_table else lines
    return "\n".join(parts)


def _table(lines: Sequence[str], width: int) -> list[str]:
    rows = [[cell.strip() for cell in _CELL.split(line.removeprefix("| ").removesuffix(" |"))] for line in lines]
    head, body = rows[0], rows[2:]
    notes = []
    if len(body) > ROWS:
        notes.append(f"{len(body) - ROWS} more rows")
        body = body[:ROWS]
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    if _total(widths) > width:
        notes.append("the ends of long cells")
        while _total(widths) > width and max(widths) > NARROW:  # the widest first, as far as it takes
            widths[widths.index(max(widths))] -= 1
        order = sorted(range(len(head)), key=lambda i: (i > 0 and head[i] not in KEPT, i))
        fitting = [n for n in range(1, len(order) + 1) if _total([widths[i] for i in order[:n]]) <= width]
        shown, left = sorted(order[: max(fitting, default=1)]), sorted(order[max(fitting, default=1) :])
        if left:
            notes.append(f"{len(left)} more columns ({', '.join(head[i] for i in left)})")
        widths = [min(widths[i], max(1, width - 4)) for i in shown]
        head, *body = ([row[i] for i in shown] for row in (head, *body))
    found = [_line(row, widths) for row in (head, ["-" * w for w in widths], *body)]
    return found + ([f"... {' and '.join(notes)}: --all"] if notes else [])


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + 3 * len(widths) + 1


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (text if len(text) <= w else f"{text[: w - 3]}..." for text, w in zip(row, widths, strict=True))
    return "| " + " | ".join(cell.ljust(w) for cell, w in zip(cells, widths, strict=True)) + " |"
