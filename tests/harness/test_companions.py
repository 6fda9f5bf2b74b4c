"""Companions: the rows and images of one process, by several of this machine that end with the first one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from harness.own_process import CHANGES, images, rows, started
from harness.tiny import write_tiny

from replication.checkpoint import load_checkpoint
from replication.cli import main
from replication.cost import Work
from replication.harness import companions
from replication.harness.companions import Companion, _worthwhile
from replication.harness.computing import MOST_LOST
from replication.harness.expected import Ahead
from replication.harness.experiment import load_experiment
from replication.harness.jobs import cell
from replication.harness.jobs.cell import Cell, cells_of
from replication.harness.store import Store
from replication.harness.workplace import Workplace
from replication.metrics import timing
from replication.metrics.timing import Together
from replication.training.loop import MADE_BY
from replication.training.recipe import Recipe
from replication.training.train import train
from replication.types import RunError

CPU = torch.device("cpu")


def companions_of(process: int) -> list[int]:
    numbers = map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())
    return [number for number in numbers if "import serve" in Path(f"/proc/{number}/cmdline").read_text()]


def until(found: Any, seconds: float = 120.0) -> Any:
    """What it comes to once that is something."""
    end = time.monotonic() + seconds
    while not (something := found()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.02)
    return something


@pytest.mark.long
def test_rows_and_images_are_those_of_one_process_though_a_companion_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact, two processes with a thread each; the companion is killed as soon as it is there, and so is the one after it.

    Catches a training that fails with its process, rows that come twice, images of another seed, a row lost with its process,
    times without what they hang on, lines of the companion's own, and rows of the same run that are taken for another's.
    """
    with started(tmp_path / "two", threads=2) as process:
        (first,) = until(lambda: process.poll() is None and companions_of(process.pid))
        os.kill(first, signal.SIGKILL)
        (companion,) = until(lambda: process.poll() is None and set(companions_of(process.pid)) - {first})
        os.kill(companion, signal.SIGKILL)
        said = process.communicate()[0]
    assert process.returncode == 0, said
    assert "lost a process; this one goes on alone" in said
    assert f"lost process {companion}; another one goes on from what is written" in said
    assert "another process" not in said
    assert "other processes" not in said
    monkeypatch.setattr(Store, "installed", False)
    monkeypatch.chdir(write_tiny(tmp_path / "one").parents[1])
    monkeypatch.delenv("REPLICATION_HOME", raising=False)
    assert main(["run", "tiny", *CHANGES]) == 0
    ours, theirs = rows(tmp_path / "two"), rows(tmp_path / "one")
    assert len(ours) == 3
    assert ours.keys() == theirs.keys()
    assert all(ours[key]["metric.fd"] == pytest.approx(theirs[key]["metric.fd"], rel=1e-4) for key in ours)
    ours_drawn, theirs_drawn = images(tmp_path / "two"), images(tmp_path / "one")
    assert ours_drawn.keys() == theirs_drawn.keys()
    apart = [(ours_drawn[name].int() - theirs_drawn[name].int()).abs() for name in ours_drawn]
    assert max(int(a.max()) for a in apart) <= 1  # two trainings, of two threads and of one: rounding at a half
    found = [path.read_text() for path in (tmp_path / "two" / "runs" / "journal" / "tiny-cpu").glob("*.json")]
    assert all('"env.threads": "1"' in row and '"env.companions": "1"' in row for row in found)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_companions_end_with_the_process_that_started_them(tmp_path: Path, number: signal.Signals) -> None:
    """Catches one that goes on for hours for nobody, and holds the locks of its rows; and a training by one process alone, or
    with other weights than that: they are as near to it as rounding is, 1e-5.
    """
    with started(tmp_path / "run", "--set", "protocol.n=100000", threads=2) as process:
        samples = tmp_path / "run" / "runs" / "samples"
        until(lambda: process.poll() is None and len(list(samples.glob("*/*/*.safetensors"))) > 1)
        (companion,) = companions_of(process.pid)
        os.kill(process.pid, number)
        process.communicate()
        until(lambda: not Path(f"/proc/{companion}").exists() or state_of(companion) == "Z", 5.0)
    (snapshot,) = (tmp_path / "run" / "runs" / "checkpoints").glob("*-2.safetensors")
    tensors, header = load_checkpoint(snapshot)
    assert {name: header[MADE_BY][name] for name in ("threads", "companions")} == {"threads": "1", "companions": "1"}
    recipe = Recipe.model_validate(header["recipe"])
    alone = load_checkpoint(train(recipe, tmp_path / "alone", CPU, progress=False))[0]
    # of the bias of an attention's keys the loss is no function: rounding is its gradient, of which Adam makes a step
    compared = [name for name in tensors if name != "curve" and "attention.k.bias" not in name]
    assert max(float((tensors[name] - alone[name]).abs().max()) for name in compared) < 1e-5


def state_of(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """Of a machine that does one multiply-add in a second, and has memory for three processes."""
    monkeypatch.setattr(companions, "available_memory", lambda: 2.5 * companions.BASE)
    rate = SimpleNamespace(seconds=lambda work: work.multiply_adds)
    monkeypatch.setattr("replication.harness.expected.throughput", lambda *_: rate)
    return Workplace(tmp_path, CPU, 8)


def jobs(seconds: float) -> list[Any]:
    return [SimpleNamespace(ahead=lambda _: Ahead(measuring=Work(seconds)))]


def test_no_more_processes_than_work_threads_and_memory_suffice_for(place: Workplace) -> None:
    """Exact. Catches a second of work that takes five to begin, a GPU's process that gets companions, and a full memory."""
    long = jobs(100 * companions.PAYS)
    assert [_worthwhile(long, [], place, threads) for threads in (1, 2, 3, 64)] == [1, 2, 3, 3]
    assert _worthwhile(jobs(companions.PAYS - 1), [], place, 2) == 1
    assert _worthwhile(jobs(2 * companions.PAYS), [], place, 64) == 3
    assert _worthwhile(long, [], replace(place, device=torch.device("cuda")), 2) == 1


def test_one_that_never_gets_to_work_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counted. Catches a run that waits for ever for a process which cannot even start."""
    monkeypatch.setattr(companions, "SERVE", "pass  # {}")
    companion = Companion(Workplace(tmp_path, CPU, 8), 1, 1)
    with pytest.raises(RunError, match=f"a job: lost {MOST_LOST} workers"):
        companion.compute(SimpleNamespace(title="a job"), None)  # type: ignore[arg-type]
    assert capsys.readouterr().out.count("lost process") == MOST_LOST
    companion.end()


@pytest.fixture
def beside() -> Iterator[None]:
    before = Together.companions, Together.first
    Together.companions, Together.first = 1, os.getpid()
    yield
    Together.companions, Together.first = before


def test_the_work_of_companions_is_no_other_work(beside: None) -> None:
    """A child's busy half second is ours, while it lives and when it is over; both processes need their processors.

    Catches: times that are marked as disturbed by the run itself, and a competitor that stays unseen beside two processes.
    """
    busy = "import time\nuntil = time.process_time() + 0.5\nwhile time.process_time() < until: pass\nprint(flush=True)\ninput()"
    counters = timing._counters()
    assert counters is not None
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        living = timing._counters()
        child.communicate(b"\n")
    over = timing._counters()
    assert living is not None
    assert over is not None
    assert living.own - counters.own >= 0.4
    assert over.own >= living.own


def test_a_competitor_of_two_processes_is_seen(beside: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact, ten seconds of two processors."""
    monkeypatch.setattr(timing, "processors", lambda: frozenset({0, 1}))
    before = timing._Counters(0.0, 0.0, 0.0, 0)
    for own, disturbs in ((19.8, False), (13.3, True)):
        found = timing._between(before, timing._Counters(20.0, 0.0, own, 0), 10.0, 1)
        assert found is not None
        assert found.disturbs is disturbs


def test_freed_memory_is_kept() -> None:
    """Counted, in a process of its own: blocks of 2 MiB are not taken from the system again. Catches a wrong option's number."""
    again = """
import resource
from replication.memory import keep_freed_memory
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def used():
    before = faults()
    for _ in range(20):
        blocks = [bytearray(b"1") * (1 << 21) for _ in range(4)]
        del blocks
    return faults() - before
keep_freed_memory()
used()
print(used())
"""
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    found = subprocess.run([sys.executable, "-c", again], env=own, capture_output=True, text=True, check=True)
    assert int(found.stdout) < 2048  # or 512 pages for each of 80 blocks


def test_the_bound_comes_before_images_that_others_draw_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: None
) -> None:
    """Catches a companion that has nothing to do while the bound is evaluated; alone, a bound that a kill would lose."""
    (of_ddpm, *_) = cells_of(load_experiment(str(write_tiny(tmp_path))), "cpu", check=False)
    order: list[str] = []
    model = SimpleNamespace(sha256={"checkpoint": ""}, given={"checkpoint": None})
    monkeypatch.setattr(Workplace, "model", lambda *_: model)
    monkeypatch.setattr(Cell, "_seconds", lambda *_: 0.0)
    monkeypatch.setattr(Cell, "samples", lambda *_: order.append("images"))
    monkeypatch.setattr(Cell, "_bits", lambda *_: order.append("bound"))
    monkeypatch.setattr(Cell, "_measured", lambda *_: None)
    monkeypatch.setattr(cell, "timing_columns", lambda *_: {})
    of_ddpm.compute(Workplace(tmp_path, CPU, 8))
    Together.companions = 0  # which the fixture undoes
    of_ddpm.compute(Workplace(tmp_path, CPU, 8))
    assert order == ["bound", "images", "images", "bound"]
