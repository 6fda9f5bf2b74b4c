"""What a terminal is shown, and what a log."""

import io
import json
import sys
from pathlib import Path

import pytest

from replication import progress
from replication.terminal import coloured, fitted, show

TABLE = """before

| sampler | a column of words | FD | verdict |
| ------- | ----------------- | -- | ------- |
| DDIM, with options that nobody reads to the end of | words and more words | 0.862 [0.727, 1.11] | supported |
| DDPM | short | 0.666 | refuted |

after | no table
"""


@pytest.mark.parametrize("width", [200, 100, 60, 40, 20])
def test_tables_fit(width: int) -> None:
    """Exact: no line of a table is wider, prose is left as it is, and columns that are left out are named."""
    lines = fitted(TABLE, width).split("\n")
    assert (lines[0], lines[-2]) == ("before", "after | no table")
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 4
    assert max(map(len, table)) <= width
    assert table[0].startswith("| sampler")
    left_out = next((line for line in lines if line.startswith("...")), "")
    assert ("supported" in "".join(table)) != ("verdict" in left_out)
    assert left_out.endswith(": --all") == (width < 200)


def test_what_a_table_is_read_for_stays() -> None:
    """Catches: a verdict that is left out since it comes last."""
    lines = fitted(TABLE, 40).split("\n")
    assert [line.split("|")[-2].strip() for line in lines if line.startswith("|")][::2] == ["verdict", "supported"]
    assert next(line for line in lines if line.startswith("...")).endswith("(a column of words, FD): --all")


def test_long_tables_end() -> None:
    lines = fitted("\n".join(["| n |", "| - |", *(f"| {i} |" for i in range(100))]), 80).split("\n")
    assert lines[-2:] == ["| 39 |", "... 60 more rows: --all"]


def test_words_are_coloured_at_the_start_of_cells() -> None:
    text = coloured("| a | supported | is not supported |\nnot reproduced: 1")
    assert text == "| a | \033[32msupported\033[0m | is not supported |\n\033[31mnot reproduced\033[0m: 1"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_where_nobody_wants_it(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    show("| state |\n| - |\n| done |\n| a \\| b, \\*\\* |")
    assert "\033[32mdone" in terminal.getvalue()
    assert "| a | b, ** " in terminal.getvalue()  # as it is meant, not as Markdown writes it
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    monkeypatch.setenv(variable, value)
    show("| state |\n| - |\n| done |")
    assert "\033" not in terminal.getvalue()


def test_files_get_the_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", file := io.StringIO())
    show(TABLE)
    assert file.getvalue() == TABLE + "\n"


def test_a_log_has_plain_lines_a_quarter_of_a_minute_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact, on a clock of the test's. Catches carriage returns, a line for every update, and an end that is not said."""
    now = iter(float(second) for second in range(1000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    with progress.Bar(40, "training", "step", initial=10) as shown:
        for _ in range(30):
            shown.set_postfix_str("loss 1", refresh=False)
            shown.update()
    assert log.getvalue() == (
        "training: 25/40 step, 15 s, about 15 s left, loss 1\ntraining: 40/40 step, 30 s, loss 1\n"
        "training: 40/40 step, 31 s, loss 1\n"
    )
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    progress.be_quiet(True)
    try:
        with progress.Bar(1, "training", "step") as shown:
            shown.update()
    finally:
        progress.be_quiet(False)
    assert log.getvalue() == ""


def test_a_sweep_has_one_line_and_tells_other_terminals_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact, on clocks of the test's. What rows really took corrects what is left; a process that died is not shown."""
    now = iter(float(second) for second in range(0, 100000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(progress.time, "time", lambda: next(now))
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    with progress.Sweep("tiny-cpu", {"a": 1.0, "b": 30.0}, tmp_path) as sweep:
        with sweep.row("a", "DDIM x 2"):
            progress.Bar(40, "ddim x 2", "image step", initial=4, enabled=False).update(6)
            (told,) = progress.running(tmp_path)
            assert (told["sweep"], told["row"], told["done"], told["rows"]) == ("tiny-cpu", "DDIM x 2", 0, 2)
            assert told["progress"] == "ddim x 2: 10 of 40 image steps"
            progress.Bar(None, "reading", "image", enabled=False).update(
                1000
            )  # of which nobody knows how many there are
            assert progress.running(tmp_path)[0]["progress"] == "reading: 1,000 images"
        assert log.getvalue().startswith("tiny-cpu: 1 of 2 rows, DDIM x 2 in ")
        assert log.getvalue().endswith(f"about {progress.duration(sweep.seconds_left)} left\n")
        took = sweep._took - 15.5  # a row of average length counts beside it, as expected
        assert took > 1
        assert sweep.seconds_left == pytest.approx(30 * (took + 15.5) / (1 + 15.5))
    assert progress.running(tmp_path) == []
    dead = {**told, "process": 2**22 - 1}
    (tmp_path / progress.RUNNING / "dead.json").write_text(json.dumps(dead), encoding="utf-8")
    assert progress.running(tmp_path) == []
    (tmp_path / progress.RUNNING / "dead.json").write_text(json.dumps({**dead, "host": "another"}), encoding="utf-8")
    assert len(progress.running(tmp_path)) == 1


@pytest.mark.parametrize(("seconds", "text"), [(12.4, "12 s"), (240, "4 min"), (9000, "2.5 h")])
def test_durations_are_as_exact_as_estimates(seconds: float, text: str) -> None:
    """Exact."""
    assert progress.duration(seconds) == text
