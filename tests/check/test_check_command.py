"""`replicate check`: on a registered part, on one in a file of nobody's package, and its exit codes."""

from pathlib import Path

import pytest

from replication.cli import main
from replication.commands.parser import PARTS

SAMPLER = """
from replication.diffusion.samplers.first_order import DDIM


class Mine(DDIM):
    order = 1

    def __init__(self, order: int = 1):
        super().__init__(0.0)
        self.order = order
"""


def test_a_sampler_in_a_file_passes_and_fails_by_what_it_declares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a check of the registry alone, an option that doesn't reach the part, and exit code 0 after a failure."""
    path = tmp_path / "mine_in_a_file.py"
    path.write_text(SAMPLER)
    assert main(["check", "sampler", f"{path}:Mine"]) == 0
    assert "ok   global order" in capsys.readouterr().out
    assert main(["check", "sampler", f"{path}:Mine", "--set", "order=2"]) == 1
    said = capsys.readouterr()
    assert "FAIL global order" in said.out
    assert "2 of its checks failed" in said.err


def test_what_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "spacing", "unifrom"]) == 2
    assert "did you mean 'uniform'" in capsys.readouterr().err
    assert main(["check", "spacing", "nowhere.py:Mine"]) == 2
    assert "there is no such file" in capsys.readouterr().err
    assert main(["check", "spacing", "uniform"]) == 0


@pytest.mark.parametrize("kind", PARTS)
def test_a_new_part_passes_its_check_as_it_is_written(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that `new` prints succeeds. Catches a template that another change left behind, and one not packaged."""
    monkeypatch.chdir(tmp_path)
    assert main(["new", kind, f"fresh-{kind}"]) == 0
    command = capsys.readouterr().out.splitlines()[-1].split()
    assert command[:3] == ["replicate", "check", kind]
    assert command[3] == f"fresh_{kind}.py:Fresh{kind.capitalize()}"
    assert main(command[1:]) == 0
    assert main(["new", kind, f"fresh-{kind}"]) == 2
    assert "there is such a file already" in capsys.readouterr().err


def test_a_name_that_no_module_can_have_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "sampler", "2m", "--out", str(tmp_path)]) == 2
    assert "begins with a letter" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
