r"""Tables in LaTeX, for `\input` into any document that loads booktabs and longtable."""

import re
from collections.abc import Sequence
from functools import lru_cache

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "±": r"$\pm$", "×": r"$\times$", "†": r"\textdagger{}",
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


def latex_document(tables: Sequence[str]) -> str:
    r"""The tables as one file; a comment at its head says which packages they need."""
    return "\n".join(["% \\usepackage{booktabs,longtable}", *tables])


def latex_table(columns: Sequence[str], lines: Sequence[Sequence[str]], caption: str, label: str) -> str:
    """One longtable, which may go over pages; its head is repeated on each."""
    wide = [max(len(line[i]) for line in [columns, *lines]) > WIDE for i in range(len(columns))]
    spec = "".join(r"p{3.5cm}" if w else "l" for w in wide)
    head = [r"\toprule", _line(columns), r"\midrule"]
    return "\n".join(
        [
            r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{longtable}}{{@{{}}{spec}@{{}}}}",
            rf"\caption{{{escaped(caption)}}}\label{{tab:{label}}}\\",
            *head,
            r"\endfirsthead",
            *head,
            r"\endhead",
            r"\bottomrule",
            r"\endlastfoot",
            *(_line(line) for line in lines),
            r"\end{longtable}",
            r"\endgroup",
            "",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"
