"""The command line: exit codes, one message, no traceback."""

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from harness.tiny import write_tiny

from replication import cli
from replication.cli import main
from replication.commands import parser as arguments
from replication.harness import home
from replication.harness.experiment import load_experiment
from replication.harness.forensics.choices import CHOICES
from replication.harness.forensics.sources import ASKED
from replication.harness.jobs.cell import cells_of, find_cell
from replication.registry import REGISTRIES, unknown
from replication.types import RunError


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPLICATION_HOME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return write_tiny(tmp_path)


def test_run_then_report(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The main job in small: table and verdicts on the screen, files in results/, the state of plan."""
    assert main(["plan", "tiny"]) == 0
    assert capsys.readouterr().out.count("to run") == 3
    assert main(["run", "tiny", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "FD-digits" in printed
    assert "Claim `few`" in printed
    assert main(["report", "tiny"]) == 0
    assert sorted(p.name for p in Path("results").iterdir()) == [
        "claims.md", "index.html", "tiny-cpu-published.csv", "tiny-cpu-replicates.safetensors", "tiny-cpu-samples.png",
        "tiny-cpu.csv", "tiny-cpu.md", "tiny-cpu.png", "tiny-cpu.tex",
    ]  # fmt: skip
    first = {p.name: p.read_bytes() for p in Path("results").iterdir()}
    Path("README.md").write_bytes(b"# Somebody's own, of Latin-1 \xe9 and CRLF\r\n")
    assert main(["report"]) == 0
    assert Path("README.md").read_bytes() == b"# Somebody's own, of Latin-1 \xe9 and CRLF\r\n"
    assert {p.name: p.read_bytes() for p in Path("results").iterdir()} == first
    capsys.readouterr()
    assert main(["plan", "tiny"]) == 0
    assert capsys.readouterr().out.count("done") == 3
    assert main(["claims", "tiny"]) == 0
    assert main(["sync"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tny"], "unknown experiment 'tny'; did you mean 'tiny'"),
        (["run", "tiny", "--set", "protocol.n"], "write it as key=value"),
        (["run", "tiny", "--set", "protocol.n=-1"], "protocol.n"),
        (["run", "tiny", "--device", "gpu"], "unknown device 'gpu'"),
        (["run", "tiny", "--profile", "gpu"], "unknown profile"),
        (["run", "tiny", "--budget", "-5"], "--budget -5: it is seconds"),
        (["run", "tiny", "--budget", "nan"], "--budget nan"),
        (["compare", "tiny:a:1", "tiny:b:1", "--profile", "tpu"], "unknown profile of tiny.toml 'tpu'"),
        (["list", "smplers"], "unknown kind 'smplers'; did you mean 'samplers'"),
        (["data", "add", "cifar11", "."], "unknown dataset 'cifar11'; did you mean 'cifar10'"),
        (["data", "add", "cifar10", "/nowhere"], "/nowhere"),
    ],
)
def test_wrong_input_exits_with_2(
    tiny: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["run"], ["run", "tiny", "--steps"], ["fly"], []])
def test_argparse_exits_with_2(tiny: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_unwritable_state_exits_with_1(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny.parent / "plain").write_text("")
    monkeypatch.setenv("REPLICATION_HOME", str(tiny.parent / "plain"))
    assert main(["run", "tiny"]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_a_corrupt_checkpoint_is_named_and_trained_again(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "tiny"]) == 0
    checkpoint = next(Path("runs/checkpoints").iterdir())
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    for row in Path("runs/journal/tiny-cpu").glob("*.json"):
        row.unlink()
    capsys.readouterr()
    whole = checkpoint.stat().st_size
    assert main(["run", "tiny"]) == 0
    assert f"{checkpoint.name}: damaged (" in capsys.readouterr().err
    assert checkpoint.stat().st_size > whole


def test_a_row_that_fails_is_listed_at_the_end_with_1_and_the_plan_says_why(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("replication.harness.store.Store.installed", False)
    with monkeypatch.context() as patched:
        patched.setattr("replication.harness.jobs.cell.Cell.compute", Mock(side_effect=RunError("out of luck")))
        assert main(["run", "tiny", "--row", "DDIM"]) == 1
    error = capsys.readouterr().err
    assert error.endswith("1 of 1 rows failed; the same command tries them again:\n  DDIM x 2: out of luck\n")
    assert main(["plan", "tiny", "--json"]) == 0
    states = {cell["sampler"]: cell["state"] for cell in json.loads(capsys.readouterr().out)["cells"]}
    assert states == {"DDPM": "to run", "DDIM": "to run, failed: out of luck", "sigma-hat": "to run"}


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], ["list"], ["list", "samplers"], ["list", "protocols"], ["list", "choices"]],
)
def test_what_computes_nothing_imports_nothing_slow(arguments: list[str]) -> None:
    """Catches an import at the top of a command, which every `replicate --help` would wait for."""
    code = "import sys; from replication.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'numpy', 'mlflow', 'torchvision', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL)


def test_every_command_has_its_work() -> None:
    """Catches a function that was renamed or removed, since commands/parser.py names it in a string, and work that no command does."""
    source = ast.parse(Path(arguments.__file__).read_text())
    calls = [node for node in ast.walk(source) if isinstance(node, ast.Call) and ast.unparse(node.func) == "_added"]
    named = {call.args[2].value for call in calls if isinstance(call.args[2], ast.Constant)} | {"report.report"}
    assert len(named) == len(calls)
    assert all(callable(cli.work(name)) for name in named | cli.PRINTING)


def test_the_choices_listed_are_those_that_are_made(capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a choice without a source, and a question that passes for one: they stand below, and say so."""
    assert main(["list", "choices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:24].rstrip() for line in lines] == [*CHOICES, *ASKED]
    assert [line[25:].startswith("asked, and not moved here: ") for line in lines] == [
        name in ASKED for name in [*CHOICES, *ASKED]
    ]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["list", "samplers"], ["list", "claims"]])
def test_a_reader_that_goes_away_is_no_error(
    arguments: list[str], unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`| head -1`, of less and of more than a buffer. Catches "Broken pipe", and Python's complaint when it flushes at exit."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "replication", *arguments], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_reader_that_leaves_work_ends_it_in_silence(tiny: Path) -> None:
    """`replicate report | head -1`: as SIGPIPE would, 141. Catches: an exit code 0 for work that was cut."""
    code = "import sys; from replication import cli\n"
    code += "cli.work = lambda name: lambda options: [print('x' * 100, flush=True) for _ in range(100_000)]\n"
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", f"{code}sys.exit(cli.main(['report']))"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_output_of_work_that_was_cut_by_a_closed_pipe_is_an_error(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a run that stops in the middle with exit code 0."""
    monkeypatch.setattr(
        "replication.commands.options.load_experiment", Mock(side_effect=BrokenPipeError(32, "Broken pipe"))
    )
    assert main(["run", "tiny"]) == 1
    assert "what was finished before is kept" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_a_letter_gets_it_escaped(encoding: str) -> None:
    """Catches: UnicodeEncodeError after all is computed, at a plus-minus or a name that is not UTF-8."""
    code = r"from replication import cli; cli._printable(); print('1 \u00b1 2 \u2020 b\udce9ta')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=True
    )
    shown = {"ascii": r"1 \xb1 2 \u2020 b\udce9ta", "latin-1": r"1 ± 2 \u2020 b\udce9ta", "utf-8": r"1 ± 2 † b\udce9ta"}
    assert done.stdout.decode(encoding) == shown[encoding] + "\n"


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "2>&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    command = f'"{sys.executable}" -m replication list samplers {closed}'
    assert subprocess.run(command, shell=True, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("sent", "said", "code"), [("SIGINT", "interrupted", 130), ("SIGTERM", "ended by SIGTERM", 143)]
)
def test_ctrl_c_and_sigterm_while_modules_are_imported_are_one_line(sent: str, said: str, code: int) -> None:
    """Catches: a KeyboardInterrupt that a library made another error of, or whose traceback is tens of lines."""
    script = """
import os, signal, sys
from replication import cli
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
def work(name):
    try: os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    except BaseException: pass  # as a library does that imports what is optional
cli.work = work
cli.main(["list"])
"""
    done = subprocess.run([sys.executable, "-c", script, sent], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, f"replicate: {said}; the same command goes on from here\n")


def test_ctrl_c_that_was_ignored_stays_so(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nohup replicate run &`: a shell ignores it for what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert main(["list"]) == 0
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_report_that_fails_leaves_results_as_they_were(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches: a new CSV beside the old table and plot."""
    assert main(["report"]) == 2
    assert "there is nothing to report: no experiment has rows in" in capsys.readouterr().err
    assert main(["report", "tiny"]) == 0
    first = {p.name: p.read_bytes() for p in Path("results").iterdir()}
    monkeypatch.setattr("replication.commands.report.write_page", Mock(side_effect=RunError("no page")))
    monkeypatch.setattr("replication.report.write.markdown_report", lambda *_: "another")
    assert main(["report", "tiny"]) == 1
    assert {p.name: p.read_bytes() for p in Path("results").iterdir()} == first


def test_a_report_is_not_written_from_another_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches: the suite's own results/ rewritten by whoever stands in a folder that has nothing of it."""
    (tmp_path / "experiments").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["report"]) == 2
    assert f"{tmp_path} holds no experiments, and a report is written in {home.CHECKOUT}" in capsys.readouterr().err
    assert main(["plan", "no-such"]) == 2
    assert f"looked for in {home.SHIPPED}" in capsys.readouterr().err


def test_ctrl_c_is_one_line_and_130(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("replication.commands.options.load_experiment", Mock(side_effect=KeyboardInterrupt))
    assert main(["run", "tiny"]) == 130
    assert capsys.readouterr().err == "replicate: interrupted; the same command goes on from here\n"
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    for rank, lines in (("0", 1), ("1", 0)):  # torchrun ends them all, and the first one says so
        monkeypatch.setenv("RANK", rank)
        assert main(["run", "tiny"]) == 130
        assert capsys.readouterr().err.count("\n") == lines


SLEEPING = """
import sys, time
from replication import cli
def work(*_):
    print("begun", flush=True)
    while True:
        try: time.sleep(60)
        except BaseException:
            if {ends}: raise
cli.work = lambda name: work
sys.exit(cli.main(["list"]))
"""


@pytest.mark.parametrize(
    ("sent", "said", "code"), [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "ended by SIGTERM", 143)]
)
@pytest.mark.parametrize("ends", [True, False], ids=["raised", "swallowed by a library"])
def test_ctrl_c_and_sigterm_end_it_and_say_how_to_go_on(sent: signal.Signals, said: str, code: int, ends: bool) -> None:
    """Catches a process that its scheduler has to kill, and one that a library keeps alive."""
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + SLEEPING
    command = [sys.executable, "-c", script.format(ends=ends)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(sent)
        error = process.communicate(timeout=60)[1]
    assert (process.returncode, error) == (code, f"replicate: {said}; the same command goes on from here\n")


@pytest.mark.parametrize("reason", ["operator torchvision::nms does not exist", "No module named 'torchvision'"])
def test_a_torchvision_of_another_torch_is_one_message(
    tiny: Path, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever import meets it: exit code 2, and what to do."""
    monkeypatch.setitem(sys.modules, "torchvision", None)  # what the import then raises is an ImportError
    assert main(["run", "tiny"]) == 2
    assert "torchvision does not fit torch" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(tiny.parent.parent)
    monkeypatch.setattr("replication.commands.options.load_experiment", Mock(side_effect=RuntimeError(reason)))
    assert main(["plan", "tiny"]) == 2
    assert "make setup" in capsys.readouterr().err


def test_out_of_memory_is_one_message_and_other_errors_are_not_hidden(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error in (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 3 bytes")):
        monkeypatch.setattr("replication.commands.options.load_experiment", Mock(side_effect=error))
        assert main(["plan", "tiny"]) == 1
        assert "out of memory: try --set batch_size=N" in capsys.readouterr().err
    monkeypatch.setattr("replication.commands.options.load_experiment", Mock(side_effect=RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["plan", "tiny"])


def test_list_without_a_kind_lists_the_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    kinds = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"experiments", "metrics", "claims", "protocols", "choices", "published", *REGISTRIES} == set(kinds)
    for kind in kinds:
        assert main(["list", kind]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines
        assert all(len(line.split(maxsplit=1)) == 2 for line in lines), kind


def test_claims_are_listed_by_name_behind_their_kinds(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "claims", "--json"]) == 0
    names = list(json.loads(capsys.readouterr().out))
    assert names[0] in REGISTRIES["claims"].names()
    assert [name for name in names if name not in REGISTRIES["claims"].names()] == ["tiny: few"]


def test_doctor_and_data_list(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert main(["data", "list"]) == 0
    assert main(["data", "verify", "digits"]) == 0
    printed = capsys.readouterr().out
    assert "torch-fidelity" in printed
    assert "digits train: " in printed


def test_several_experiments_share_a_budget_and_what_is_left_ends_with_75(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a budget of each one's own, a second experiment that is not come to, and an exit that says all is done."""
    other = tiny.with_name("other.toml")
    other.write_text(
        tiny.read_text().replace('title = "tiny"', 'title = "other"').replace('name = "few"', 'name = "fewer"')
    )
    assert main(["run", "tiny", "other", "--device", "cpu", "--budget", "0"]) == 75
    error = capsys.readouterr().err
    assert [line.partition(":")[0] for line in error.splitlines()] == ["tiny", "other", "replicate"]
    assert "the same command goes on from here" in error
    assert main(["run", "tiny", "other", "--device", "cpu", "--budget", "3600"]) == 0
    assert main(["plan", "tiny"]) == main(["plan", "other"]) == 0
    assert capsys.readouterr().out.count("to run") == 0
    assert main(["run", "tiny", "othr", "--device", "cpu"]) == 2


def test_names_with_commas_are_quoted() -> None:
    """Catches a list that a reader takes for more names than there are."""
    error = unknown("row", "DDIM", ["DDIM, clip x0", "DDPM", " blank"])
    assert str(error).endswith("(valid: 'DDIM, clip x0', DDPM, ' blank')")


def test_the_examples_of_help_are_commands() -> None:
    parser = arguments.parser()
    for example in (example for examples in arguments.EXAMPLES.values() for example in examples):
        assert parser.parse_args(shlex.split(example)).work in arguments.EXAMPLES, example


def test_the_rows_of_the_examples_of_help_are_there() -> None:
    """As EXPERIMENT:LABEL:STEPS, and as --row after an experiment. Catches: a label that was renamed since."""
    found = 0
    for words in (shlex.split(example) for examples in arguments.EXAMPLES.values() for example in examples):
        profile = words[words.index("--profile") + 1] if "--profile" in words else "cpu"
        rows = [tuple(word.split(":")) for word in words if word.count(":") == 2]
        if "--row" in words:
            named = next(word for word in words if word in home.experiments())
            rows.append((named, words[1 + words.index("--row")], ""))
        for experiment, label, steps in rows:
            cells = cells_of(load_experiment(experiment, profile=profile), profile, check=False)
            find_cell(cells, label, int(steps) if steps else None)
            found += 1
        choices = [words[i + 1] for i, word in enumerate(words) if word == "--only" and words[0] == "forensics"]
        assert set(choices) <= CHOICES.keys(), words
    assert found > 8


def test_every_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("run", "plan", "verify", "claims", "list", "bench", "doctor", "data add", "weights add"):
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        assert f"for example:\n  replicate {command}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("replicate ")


def test_json_of_what_is_printed(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Strict JSON, and nothing beside it. Catches a line of prose on standard output, and claims that blame a missing cell
    on the experiment where `--row` left it out."""

    def of(*arguments: str) -> Any:
        assert main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))

    assert [line["state"] for line in of("plan", "tiny")["cells"]] == ["to run"] * 3
    assert main(["run", "tiny", "--quiet", "--row", "DDIM"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "--row DDIM ran no other" in printed.out
    assert "DDPM x 4 of tiny is not run" in printed.out
    assert "is no cell" not in printed.out
    assert main(["run", "tiny"]) == 0
    capsys.readouterr()
    (claim,) = of("claims", "tiny")
    assert claim["claim"] == "few"
    assert claim["verdicts"][0]["word"] in ("not judged", "inconclusive", "supported", "refuted", "not tested")
    found = of("compare", "tiny:DDIM:2", "tiny:sigma-hat:2")
    assert [row["label"] for row in found["rows"]] == ["DDIM", "sigma-hat"]
    assert any(line["figure"].startswith("FD-digits") for line in found["lines"])
    assert of("list", "metrics")["kid"].startswith("KID: ")
    assert of("list", "experiments") == {"tiny": "tiny (cpu)"}
    assert {line["what"] for line in of("doctor")["found"]} >= {"state", "torch", "tracking"}


@pytest.mark.long
def test_mlflow_and_alembic_do_not_speak(tiny: Path) -> None:
    """A whole run in a process of its own: progress lines, without a carriage return, and no word of a library."""
    command, here = [sys.executable, "-m", "replication", "run", "tiny"], str(Path(cli.__file__).parents[1])
    done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONPATH": here})
    assert b"\r" not in done.stdout + done.stderr
    assert not [
        line
        for line in done.stderr.decode().splitlines()
        if not re.match(r"[^:]+: (\d+/\d+ [\w ]+, \d+ s|\d+ of \d+ rows)", line)
    ]


def test_threads_that_wait_soon_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a setting that comes after torch has read it, and one that overrules the user's."""
    asked = "import os, sys; from replication import cli; cli.main = lambda: print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules) or 0; cli.entry()"
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)

    def said() -> str:
        return subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()

    assert said() == "10000 False"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert said() == "7 False"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    assert said() == "None False"
