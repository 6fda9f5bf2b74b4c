"""What a plan says is ahead: counted exactly, timed by what was timed here, and nothing for what is done."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import write_tiny
from tiny_latent import write_tiny_latent
from torch import nn

from replication.cli import main
from replication.cost import Work, counted
from replication.diffusion.sampler import Sampler
from replication.harness import expected, passes
from replication.harness.expected import Ahead, Forecast
from replication.harness.experiment import load_experiment
from replication.harness.job import trainings_of
from replication.harness.jobs.cell import cells_of
from replication.harness.jobs.first_stage import first_stage_cells
from replication.harness.journal import unsealed
from replication.harness.passes import of_step
from replication.harness.workplace import Workplace
from replication.metrics.machine import Throughput
from replication.metrics.timing import conditions
from replication.registry import SAMPLERS
from replication.sampling import generation
from replication.training.recipe import Recipe

CPU = torch.device("cpu")
Planned = Callable[..., dict[str, Any]]


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Planned:
    """`replicate plan tiny --json` on a machine that does a thousand million of anything in a second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPLICATION_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(expected, "throughput", lambda *_: Throughput(1e9, 1e9, 1e9))
    write_tiny(tmp_path)

    def of(*options: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["plan", "tiny", *options, "--json"]) == 0
        return dict(json.loads(capsys.readouterr().out))

    return of


def test_what_a_run_does_is_counted_and_what_it_holds() -> None:
    """A linear map of 3 to 5 on 7 rows and a ReLU: 105 multiply-adds, 2 x 140 bytes, both outputs alive at a time.

    Catches views and inputs that count as made, and memory that is never given back.
    """
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU()).to("meta")
    with torch.no_grad():
        counter = counted(lambda: network(torch.empty(7, 3, device="meta").view(7, 3)))
    assert (counter.work.multiply_adds, counter.work.bytes) == (105, 2 * 140 + 7 * 3 * 4)
    assert (counter.peak, counter.alive) == (7 * 3 * 4 + 2 * 140, 0)


def test_seconds_disk_and_memory_of_each_row_and_in_all(planned: Planned) -> None:
    """More NFE take longer, the sum is the sum, memory is the most and not the sum; nothing is left of what is done."""
    plan = planned()
    cells, trainings, (whole,) = plan["cells"], plan["trainings"], plan["all"]
    assert [cell["NFE"] for cell in cells] == [4, 2, 2]
    assert cells[0]["seconds"] > cells[1]["seconds"] > 0
    assert whole["seconds"] == pytest.approx(sum(line["seconds"] for line in [*cells, *trainings]), abs=0.01)
    assert whole["memory"] == max(line["memory"] for line in [*cells, *trainings])
    assert cells[0]["disk"] - 16 * 64 == expected.BESIDE_IMAGES  # sixteen images of 8x8 bytes
    assert trainings[0]["disk"] == 2 * 4 * 4 * 284_513  # a snapshot and what it grows from, four copies of each weight
    assert main(["run", "tiny", "--quiet"]) == 0
    plan = planned()
    assert {cell["state"] for cell in plan["cells"]} == {"done"}
    assert plan["all"] == [{"jobs to do": 0, "seconds": 0, "disk": 0, "memory": 0}]
    assert plan["trainings"] == []


def test_images_that_are_there_or_shared_are_not_drawn_again(planned: Planned) -> None:
    """With fewer images than are stored, a row is measured alone; of n more, those alone are drawn."""
    whole = planned("--set", "protocol.n=32")["cells"][1]["disk"]
    assert main(["run", "tiny", "--quiet", "--row", "DDIM"]) == 0
    assert planned("--set", "protocol.n=12")["cells"][1]["disk"] == expected.BESIDE_IMAGES
    assert planned("--set", "protocol.n=32")["cells"][1]["disk"] == whole - 16 * 64


def test_rows_of_this_machine_correct_what_was_counted(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that took longer makes the others of its network take longer; not if other work or other threads were in it."""
    assert main(["run", "tiny", "--quiet", "--row", "DDIM"]) == 0
    (path,) = Path("home/journal/tiny-cpu").glob("*.json")
    row = unsealed(path.read_bytes())

    def with_time(**changes: float) -> float:
        """Of another row of the network, where this row's time is another one."""
        of_row = {**row, **{f"timing.{name}": value for name, value in changes.items()}}
        path.write_text(json.dumps(of_row), encoding="utf-8")
        return float(planned()["cells"][0]["seconds"])

    before = with_time(seconds_per_image=1.0, disturbed=0)
    assert with_time(seconds_per_image=100.0, disturbed=0) > 50 * before
    assert with_time(seconds_per_image=100.0, disturbed=1) < 50 * before
    with_time(seconds_per_image=100.0, disturbed=0)
    monkeypatch.setattr(expected, "conditions", lambda device: {**conditions(device), "threads": "99"})
    assert planned()["cells"][0]["seconds"] < 50 * before
    row |= {"env.threads": "99", "env.companions": "none"}
    alone = with_time(seconds_per_image=50.0, disturbed=0)
    assert alone > 20 * before
    row |= {"env.threads": "33", "env.companions": "2"}
    assert with_time(seconds_per_image=150.0, disturbed=0) == pytest.approx(alone, rel=0.5)


def test_the_row_of_a_first_stage_corrects_its_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It times reconstructions and draws nothing; a row of a job that says nothing of what is ahead corrects nothing.

    Catches: seconds over nothing counted, which ended every plan and every run that went on beside such a row.
    """
    monkeypatch.setattr(expected, "throughput", lambda *_: Throughput(1e9, 1e9, 1e9))
    (stage,) = first_stage_cells(load_experiment(str(write_tiny_latent(tmp_path))), "cpu")
    (training,) = stage.trainings(place := Workplace(tmp_path / "home", CPU, batch_size=10))
    forecast = Forecast(place)
    before = forecast.of_training(training).seconds
    here = {f"env.{name}": value for name, value in conditions(CPU).items()}
    row = {**here, "timing.seconds_per_image": 100.0, "timing.disturbed": 0}
    forecast.learn(Ahead(), row)
    assert forecast.of_training(training).seconds == before
    forecast.learn(stage.ahead(place), row)
    assert forecast.of_training(training).seconds > 50 * before


def test_latents_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same encoder and mirroring: networks that share them. Catches a plan that encodes all images for each training."""
    monkeypatch.setattr(expected, "throughput", lambda *_: Throughput(1e9, 1e9, 1e9))
    cells = cells_of(load_experiment("ldm"), "cpu")
    place = Workplace(tmp_path / "home", CPU, batch_size=10)
    recipes = [one for one in trainings_of(cells, place) if isinstance(one.of, Recipe)]
    trainings = [one for one in recipes if one.of.first_stage == recipes[-1].of.first_stage]  # type: ignore[union-attr]
    alone, forecast = [Forecast(place).of_training(one) for one in trainings], Forecast(place)
    first, *others = (forecast.of_training(one) for one in trainings)
    assert first == alone[0]
    assert others
    for shared, by_itself in zip(others, alone[1:], strict=True):
        assert shared.seconds < by_itself.seconds
        assert shared.disk < by_itself.disk


def test_only_some_rows_are_planned_and_run(planned: Planned, capsys: pytest.CaptureFixture[str]) -> None:
    """By label and by the value of a column; what no row has is refused with the nearest one that there is."""
    assert [cell["sampler"] for cell in planned("--row", "DDIM")["cells"]] == ["DDIM"]
    by_column = planned("--only", "sampling.steps=2", "--only", "sampling.clip=x0")["cells"]
    assert [(cell["sampler"], cell["steps"]) for cell in by_column] == [("sigma-hat", 2)]
    assert main(["plan", "tiny", "--only", "sampling.step=2"]) == 2
    assert "did you mean 'sampling.steps'" in capsys.readouterr().err
    assert main(["plan", "tiny", "--only", "sampling.steps=3"]) == 2
    assert "valid: 4, 2" in capsys.readouterr().err
    assert main(["run", "tiny", "--quiet", "--only", "sampling.steps=4"]) == 0
    assert [cell["state"] for cell in planned()["cells"]] == ["done", "to run", "to run"]


def test_experiments_are_planned_together(planned: Planned, tmp_path: Path) -> None:
    """What two experiments share, a training and sample sets, counts once, with every step that either of them asks for."""
    alone = planned()
    path = write_tiny(
        tmp_path, ("steps = 2\nbatch_size", "steps = 4\nbatch_size"), ('title = "tiny"', 'title = "other"')
    )
    path.rename(path.with_name("other.toml"))
    path = write_tiny(tmp_path)
    path.with_name("same.toml").write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    both = planned("same")
    assert [line["experiment"] for line in both["cells"]] == ["tiny"] * 3 + ["same"] * 3
    assert both["trainings"] == alone["trainings"]
    assert [line["disk"] for line in both["cells"][3:]] == [expected.BESIDE_IMAGES] * 3
    assert both["all"][0]["jobs to do"] == 6
    assert both["all"][0]["disk"] == alone["all"][0]["disk"] + 3 * expected.BESIDE_IMAGES
    assert [line["snapshots after"] for line in planned("other")["trainings"]] == ["2 4"]


def test_a_sampler_of_its_own_for_every_row_is_not_counted_each(
    planned: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan of more rows makes no more of what takes long: passes, evaluations of a spacing, keys of a training."""
    seen: list[str] = []

    def noting(owner: Any, name: str) -> None:
        work = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *of, **options: (seen.append(name), work(*of, **options))[1])

    noting(passes, "counted")
    noting(Sampler, "nfe")
    noting(Recipe, "training_identity")

    def times(rows: int) -> list[int]:
        passes._known.clear()
        generation._visited.clear()
        seen.clear()
        grid = ", ".join(f"0.{row:02}" for row in range(1, rows + 1))
        row = 'label = "eta {sampler.eta}"\nsampler = "ddim"\nspacing = "uniform"\nsteps = [2, 4]\nclip = "x0"'
        head = "[[profiles.cpu.rows]]\n"
        write_tiny(tmp_path, (head, f"{head}{row}\ngrid.sampler.eta = [{grid}]\n{head}"))
        assert len(planned()["cells"]) == 3 + 2 * rows
        return [seen.count(name) for name in ("counted", "nfe", "training_identity")]

    assert times(30) == times(2)


def test_plans_and_reports_do_without_the_compiler() -> None:
    """It takes as long to load as all else: shapes are found without it, and whoever asks for more of it gets it. A report loads
    neither it nor torchvision, which loads it, nor SciPy's statistics."""
    script = """
import sys, torch
import replication.commands.report
assert not {"torch._dynamo", "torchvision", "scipy.stats"} & set(sys.modules)
from replication.cli import main
assert main(["plan", "ddpm"]) == 0 and "torch._dynamo" not in sys.modules
from replication.shapes import Shapes
with Shapes():
    import torch._dynamo
    assert torch._dynamo.disable(len) is len
    torch._dynamo.config
assert sys.modules["torch._dynamo"].__file__
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS.names() if ":" not in name])
def test_the_arithmetic_of_every_sampler_is_counted(planned: Planned, sampler: str) -> None:
    """On the meta device, where a step that reads a number off an image fails: some of its own traffic, no products."""
    from replication.harness.experiment import load_experiment
    from replication.harness.jobs.cell import cells_of
    from replication.settings import Part

    cell = cells_of(load_experiment("tiny"), "cpu", check=False)[0]
    work = of_step(cell.recipe, cell.sampling.with_fields(sampler=Part(name=sampler)), 8).work
    assert work.bytes > 8 * 64 * 8
    assert work.multiply_adds == 0


def test_a_training_goes_on_from_its_snapshot(planned: Planned) -> None:
    """Half of the steps are half of the time; and its own pace is what its snapshot says."""
    assert main(["run", "tiny", "--quiet", "--row", "DDIM"]) == 0
    (of_six,) = planned("--set", "recipe.training.steps=6")["trainings"]
    (of_four,) = planned("--set", "recipe.training.steps=4")["trainings"]
    assert (of_six["steps to do"], of_four["steps to do"]) == (4, 2)
    assert of_six["seconds"] == pytest.approx(2 * of_four["seconds"], abs=0.002)
    assert Work() + Work(1, 2, 3) * 2 == Work(2, 4, 6)


def test_a_place_without_rows_or_snapshots_takes_what_was_counted() -> None:
    """No pace is known: the factor is one."""
    assert expected.Forecast(Workplace(Path("nowhere"), CPU, 8))._pace("any") == 1.0
