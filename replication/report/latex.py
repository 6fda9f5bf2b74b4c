r"""Tables in LaTeX, for `\input` into any document that loads booktabs and longtable."""

import re
from collections.abc import Mapping
from functools import lru_cache

from replication.report.tables import Table

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "±": r"$\pm$", "×": r"$\times$", "†": r"\textdagger{}", "‡": r"\textdaggerdbl{}", "§": r"\S{}",
    # after the end of a line these two would be its options
    "[": "{[}", "*": "{*}",
}  # fmt: skip
_SPECIAL = re.compile("[" + re.escape("".join(SPECIAL)) + "]")
_MINUS = re.compile(r"(?<![\w.-])-(?=\d)")
WIDE = 30  # characters from which on a column is set in lines of its own


@lru_cache(maxsize=4096)  # the same few words stand in most lines
def escaped(text: str) -> str:
    """The text with whatever means something to LaTeX written so that it is printed, and minus signs as such."""
    return _MINUS.sub("$-$", _SPECIAL.sub(lambda match: SPECIAL[match.group()], " ".join(text.split())))


def latex_report(title: str, stem: str, tables: Mapping[str, Table]) -> str:
    """The tables by heading as one file; a comment at its head says which packages they need."""
    captions = [f"{title}: {heading}" if heading else title for heading in tables]
    labels = [f"{stem}-{i}" if i else stem for i in range(len(tables))]
    longtables = [latex_table(*of) for of in zip(tables.values(), captions, labels, strict=True)]
    return "\n".join(["% \\usepackage{booktabs,longtable}", *longtables])


def latex_table(table: Table, caption: str, label: str) -> str:
    """One longtable, which may go over pages; its head is repeated on each."""
    head, *lines = (" & ".join(map(escaped, line)) + r" \\" for line in [table.columns, *table.lines])
    body, notes = "\n".join(lines), "".join(f"{escaped(note)}\n\n" for note in table.notes)
    wide = [max(map(len, texts)) > WIDE for texts in zip(table.columns, *table.lines, strict=True)]
    spec = "".join(r"p{3.5cm}" if w else "l" for w in wide)
    return rf"""\begingroup\footnotesize\setlength{{\tabcolsep}}{{3pt}}
\begin{{longtable}}{{@{{}}{spec}@{{}}}}
\caption{{{escaped(caption)}}}\label{{tab:{label}}}\\
\toprule
{head}
\midrule
\endfirsthead
\toprule
{head}
\midrule
\endhead
\bottomrule
\endlastfoot
{body}
\end{{longtable}}
{notes}\endgroup
"""
