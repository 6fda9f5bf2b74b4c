"""The bench runs and compares networks of the same configuration; its figures are not judged here."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import replication.bench as benches
from replication.bench import bench, breakdown, decoding, distance, networks, sampling, turns
from replication.bench.peers import BEST, DEFAULTS, LATENT
from replication.bench.turns import Task, Work, in_turns, line_of
from replication.cli import main
from replication.metrics.timing import OtherWork
from replication.report import speed
from replication.report.page import page as whole_page
from replication.report.speed import COPY, OURS, PRODUCT, Line, Section, committed_speed, file_name, write_speed
from replication.types import InputError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_small_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one call of each run; with 0 seconds a line has one turn."""
    monkeypatch.setitem(turns.SIDES, "cpu", 64)
    monkeypatch.setitem(turns.COPIED, "cpu", 1 << 12)
    monkeypatch.setattr(turns, "SHORT", 0.0)


def lines(tasks: list[Task]) -> list[Line]:
    return [line_of(task, CPU, 0.0) for task in tasks]


def test_forward_passes_answer_as_their_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers of random networks differ by at most 1e-4 of the largest (float32), and are not equal to the last bit.

    Catches: other weights, a label or a timestep that one of them does not get, diffusers' own sinusoids (0.1), LDM's
    conventions in the place of DDPM's.
    """
    size = networks.Size({"ddpm-digits": 2, "dit-s/8": 2, LATENT: 2}, {}, "float32")
    monkeypatch.setitem(networks.SIZES, "cpu", size)
    for line in lines(networks.forward(CPU)):
        assert 0 < float(line.notes["largest difference"]) <= 1e-4
        assert set(line.seconds) == {OURS, DEFAULTS, BEST, PRODUCT, COPY}
        assert all(len(taken) == 1 and taken[0] > 0 for taken in line.seconds.values())


def test_training_steps_count_three_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a loop that does not run, and a step that counts as a forward pass."""
    monkeypatch.setitem(networks.SIZES, "cpu", networks.Size({}, {"ddpm-digits": 4}, "float32"))
    (line,) = lines(networks.training(CPU))
    assert all(line.seconds[run][0] > 0 for run in (OURS, DEFAULTS, BEST))
    assert line.multiply_adds == pytest.approx(networks.SERIES * 4 * 3 * 7.97e6, rel=0.01)


def test_sampling_stands_beside_its_passes_and_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: passes of another number of steps (multiply-adds), a pipeline that is missing where it is installed."""
    monkeypatch.setitem(sampling.LOOPS, "cpu", [sampling.Loop("ddpm-digits", 2, "ancestral", 3)])
    (line,) = lines(sampling.sampling(CPU))
    assert set(line.seconds) - {PRODUCT, COPY} == {OURS, sampling.PASSES, DEFAULTS, BEST}
    assert line.multiply_adds == pytest.approx(2 * 3 * 7.97e6, rel=0.01)


@pytest.mark.long
def test_processes_stand_beside_threads_in_company(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: processes that stay behind, a share that is none, a network that processes cannot be told; of a training, a
    peer that takes no part in one of the two ways.
    """
    monkeypatch.setitem(sampling.LOOPS, "cpu", [sampling.Loop("ddpm-digits", 2, "ddim", 1)])
    monkeypatch.setitem(networks.SIZES, "cpu", networks.Size({}, {"ddpm-digits": 4}, "float32"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    (trained,) = lines(networks.training(CPU))
    of_training = {OURS, networks.THREADS, DEFAULTS, BEST, networks.BEST_TOGETHER}
    assert set(trained.seconds) - {PRODUCT, COPY} == of_training
    (line,) = lines(sampling.in_company(CPU))
    runs = {OURS, sampling.COMPANY, sampling.THREADS, sampling.THREADS_COMPANY}
    assert set(line.seconds) - {PRODUCT, COPY} == runs
    assert all(float(text.rstrip("%")) > 0 for text in line.notes.values())
    assert not multiprocessing.active_children()


def test_decoders_answer_as_their_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """max-abs <= 1e-4 of the largest. Catches: latents that one of them scales, another number of groups."""
    monkeypatch.setattr(decoding, "WIDTH", 32)
    monkeypatch.setattr(decoding, "LATENT_STEPS", 1)
    monkeypatch.setitem(decoding.DECODED, "cpu", (1, 2))
    decoded, latents = lines(decoding.decoding(CPU))
    assert 0 < float(decoded.notes["largest difference"]) <= 1e-4
    assert set(latents.seconds) == {OURS, decoding.PIXELS}


def test_distances_of_the_same_features_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and torch-fidelity's differ by less than 1e-6, singular covariances included.

    Catches: the two given different features, or one of them the reference twice.
    """
    monkeypatch.setattr(distance, "IMAGES", 60)
    monkeypatch.setattr(distance, "INTERVAL", 60)
    monkeypatch.setattr(distance, "WIDTH", 64)
    monkeypatch.setattr(distance, "RESAMPLES", 2)
    (compared,), (drawn,) = lines(distance.distance(CPU)), lines(distance.interval(CPU))
    assert float(compared.notes["relative difference"]) < 1e-6
    assert float(drawn.notes["peak memory, GiB"]) > 0


@pytest.mark.filterwarnings("ignore:This DataLoader")  # torch-fidelity's own number of processes
def test_features_are_those_of_torch_fidelity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative difference <= 1e-5. Catches: other weights, images in another order, a network that is not in eval mode."""
    monkeypatch.setitem(distance.EXTRACTED, "cpu", 2)
    line = line_of(distance.features(CPU)[0], CPU, 0.0)
    assert float(line.notes["relative difference"]) <= 1e-5


def test_a_breakdown_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kinds add up to what was at work, to the digits shown, and only a training step has an optimiser.

    Catches: operations that are counted with those that they consist of, and a step that the profiler does not see.
    """
    monkeypatch.setitem(networks.SIZES, "cpu", networks.Size({}, {"ddpm-digits": 4}, "float32"))
    monkeypatch.setattr(breakdown, "STEPS", 1)
    for line in lines(breakdown.breakdown(CPU)):
        kinds = [float(line.notes[kind]) for kind in breakdown.KINDS]
        assert sum(kinds) == pytest.approx(float(line.notes["at work, ms a step"]), rel=0.02)
        assert float(line.notes["products"]) > 0
        assert (float(line.notes["optimiser"]) > 0) == line.what.startswith("training")


# ---------------------------------------------------------------- turns


class Watch:
    """A stopwatch that was disturbed in the turns given."""

    disturbed: set[int] = set()
    turn = 0

    def __init__(self, _: torch.device):
        self.seconds = 1.0

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        Watch.turn += 1
        self.other_work = OtherWork(0.5, 70.0, 0.0, Watch.turn in Watch.disturbed)


@pytest.mark.parametrize(
    ("disturbed", "counted", "marked"), [(set(), 4, False), ({2, 3}, 4, False), (set(range(1, 13)), 12, True)]
)
def test_disturbed_turns_are_taken_again(
    disturbed: set[int], counted: int, marked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: a disturbed time among those that count, and a line of nothing else that does not say so."""
    monkeypatch.setattr(turns, "Stopwatch", Watch)
    monkeypatch.setattr(Watch, "disturbed", disturbed)
    monkeypatch.setattr(Watch, "turn", 0)
    seconds, found = in_turns({OURS: lambda: None}, CPU, 60.0, warmups=0, most=4)
    assert (len(seconds[OURS]), found.startswith("0.50 processors of other work, 70 switches/s")) == (counted, marked)


def test_a_busy_process_is_there_and_then_gone() -> None:
    """Catches: a competitor that stays behind."""

    def busy() -> int:
        command = [sys.executable, "-c", "import time; time.sleep(0)"]
        subprocess.run(command, check=True)
        found = Path("/proc").glob("[0-9]*/cmdline")
        own = str(os.getpid()).encode()
        return sum(turns.BUSY.encode() in (text := read(path)) and text.rstrip(b"\0").endswith(own) for path in found)

    def read(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError:  # it has just ended
            return b""

    with turns.company():
        assert busy() == 1
    assert busy() == 0


def test_a_condition_is_set_up_around_its_run_alone() -> None:
    """Catches: a competitor beside the quiet run too."""
    beside, seen = [False], []

    @contextmanager
    def condition() -> Iterator[None]:
        beside[0] = True
        yield
        beside[0] = False

    run: Callable[[], object] = lambda: seen.append(beside[0])  # noqa: E731
    in_turns({"alone": run, "beside": run}, CPU, 0.0, warmups=0, around={"beside": condition})
    assert seen == [False, True]


# ---------------------------------------------------------------- lines and files


def a_line(**changes: object) -> Line:
    seconds = {OURS: [0.2, 0.4, 0.2], "peer": [0.4, 1.2, 0.5], PRODUCT: [0.1, 0.2, 0.1], COPY: [0.1, 0.1, 0.1]}
    fields = {"multiply_adds": 50.0, "bytes": 10.0, "product": 100.0, "copied": 1000.0} | changes
    return Line("x", "ms/image", 1e3 / 10, seconds, **fields)  # type: ignore[arg-type]


def test_a_line_says_its_floor_and_its_ratios() -> None:
    """By hand: half a product each turn, 0.05, 0.1, 0.05 s, over ours a quarter; the peer's ratios are 2, 3 and 2.5.

    Catches: a ratio of medians in the place of the median ratio, bytes and products added up, ours over the floor.
    """
    cells = a_line().cells()
    assert cells["ours, ms/image"] == "20 [20, 40]"
    assert cells["of the floor"] == "25% [25%, 25%]"
    assert cells["peer, times ours"] == "2.5 [2, 3]"
    assert cells["machine"] == "quiet"
    assert a_line(bytes=2000.0).floor() == [0.2, 0.2, 0.2]
    assert a_line(disturbed="0.8 processors").cells()["machine"] == "disturbed: 0.8 processors"


def test_files_keep_what_was_not_measured_again(tmp_path: Path) -> None:
    """Written twice, byte for byte the same. Catches: a section by name that removes the others, a device as a path."""
    env = {"env.commit": "0", "env.threads": "2"}
    write_speed("Some CPU @ 2.0/GHz", {"forward": Section(env, [a_line()])}, tmp_path)
    json, page = write_speed(
        "Some CPU @ 2.0/GHz", {"distance": Section(env, [a_line(missing={"x": "gone"})])}, tmp_path
    )
    assert (json.name, page.name) == ("bench-some-cpu-2-0-ghz.json", "bench-some-cpu-2-0-ghz.md")
    (device, sections), before = committed_speed(tmp_path)[file_name("Some CPU @ 2.0/GHz")], page.read_bytes()
    assert (device, list(sections)) == ("Some CPU @ 2.0/GHz", ["forward", "distance"])
    write_speed(device, sections, tmp_path)
    assert page.read_bytes() == before
    assert "| gone" in page.read_text()
    assert "2.5" in whole_page([], tmp_path)
    assert all(f"## {speed.SECTIONS[name]}" in page.read_text() for name in sections)


def test_the_bench_goes_on_without_a_library_and_without_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches: a missing peer that ends the bench, lines that come only at the end, a budget that nothing keeps to."""

    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "own.toml").touch()
    monkeypatch.chdir(tmp_path)

    def without() -> Work:
        raise ImportError("No module named 'peer'")

    tasks = {"forward": [Task("a", without), Task("b", lambda: Work({OURS: lambda: None}, images=1))]}
    monkeypatch.setattr(benches, "TASKS", {name: lambda _, of=of: of for name, of in tasks.items()})
    seen = [[line.what for line in section.lines] for _, section in bench(CPU)]
    assert seen == [["a"], ["a", "b"]]
    assert main(["bench", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "forward: a: " in out
    assert "No module named 'peer'" in out
    assert "wrote results/bench-" in out
    assert len(list((tmp_path / "results").glob("bench-*"))) == 2
    (_, late), *_ = bench(CPU, budget=0.0)
    assert late.lines[0].missing == {"": benches.NO_TIME}
    with pytest.raises(InputError, match="did you mean 'forward'"):
        next(bench(CPU, ["forwards"]))
