"""A training of several processes is that of one: the same gradients, the same files, whoever goes on with them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import training_processes
from first_stages import DIGITS, stage
from harness.tiny import write_tiny
from harness.tracking_servers import free_port
from torch import Tensor, nn
from torch.multiprocessing import start_processes
from training_processes import GRADIENTS, gradients
from training_recipes import CPU, recipe

from replication.checkpoint import load_checkpoint
from replication.cli import main
from replication.ldm.autoencoder import Autoencoder
from replication.registry import AUTOENCODERS
from replication.training.data import Encoded, Pixels
from replication.training.processes import ALONE, DropoutOfWhole, Processes, for_whole
from replication.training.train import train
from replication.training.train_first_stage import train_first_stage

CLOSE = 1e-5
DRAWING = str(Path(training_processes.__file__).with_name("drawing_processes.py"))
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def torchrun(processes: int, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}
    environment |= {"OMP_NUM_THREADS": "1"}
    command = [*LAUNCH, str(processes), *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=600)


def in_processes(n: int, folder: Path, *scenarios: str) -> dict[str, list[str]]:
    """By scenario, how it ended in each of the processes: forks of this one, which has imported everything."""
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(n)}
    start_processes(training_processes.work, (environment, folder, scenarios), n, start_method="fork")
    return {one: [json.loads((folder / one / f"{i}.json").read_text()) for i in range(n)] for one in scenarios}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """Every scenario in two processes, and how each ended there."""
    folder = tmp_path_factory.mktemp("two")
    return folder, in_processes(2, folder, *GRADIENTS, *training_processes.SCENARIOS)


def apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference. A scale that is not measured yet is NaN in both; and the bias of an attention's keys, of which the
    loss is no function, has rounding for its gradient, which Adam makes a step of."""
    assert a.keys() == b.keys()
    names = [name for name in a if not name.endswith("attention.k.bias")]
    unlike = {n: ~torch.isclose(a[n], b[n], rtol=0, atol=0, equal_nan=True) for n in names}
    pairs = [(a[n][at].double(), b[n][at].double()) for n, at in unlike.items() if at.any()]
    return max((float((x - y).detach().abs().max()) for x, y in pairs), default=0.0)


def snapshot(folder: Path, steps: int) -> dict[str, Tensor]:
    (path,) = folder.glob(f"*-{steps}.safetensors")
    return {name: tensor for name, tensor in load_checkpoint(path)[0].items() if name != "curve"}


@pytest.mark.parametrize("case", GRADIENTS)
def test_gradients_are_those_of_one_process_with_the_whole_batch(
    case: str, two: tuple[Path, dict[str, list[str]]]
) -> None:
    """1e-5, weights, averages and moments after three steps too; both processes to the bit. Dropout is on.

    Catches noise, times, dropout, labels or mirror images drawn by rows, a mean that forgets unequal shares, parts that are
    averaged once too often, and a loss that is that of one process; of a first stage, statistics of batch normalisation, an
    adaptive weight and counts of codes that are those of one process, and a discriminator whose gradients stay its own.
    """
    one = gradients(GRADIENTS[case], ALONE)
    first, second = (load_checkpoint(two[0] / case / f"{i}.safetensors")[0] for i in range(2))
    assert max(float(g.abs().max()) for name, g in one.items() if ".gradient." in name) > 0.01
    assert apart(one, first) < CLOSE
    assert all(torch.equal(first[name].nan_to_num(), second[name].nan_to_num()) for name in first)


def test_snapshots_are_those_of_one_process_and_the_first_one_writes_them(
    two: tuple[Path, dict[str, list[str]]], tmp_path: Path
) -> None:
    """The names exactly, their tensors to 1e-5. Catches a key that knows of processes, `module.` in names, a second writer."""
    folder, ended = two
    assert ended["trained"] == ["it ended"] * 2
    train(recipe(), tmp_path, CPU, milestones=(2,), progress=False)
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert sorted(path.name for path in (folder / "trained" / "0").iterdir()) == names
    assert not (folder / "trained" / "1").exists()
    for steps in (2, 6):
        assert apart(snapshot(tmp_path, steps), snapshot(folder / "trained" / "0", steps)) < CLOSE
    assert ended["first stage trained"] == ["it ended"] * 2
    train_first_stage(stage("kl-f2"), DIGITS, tmp_path / "stage", CPU, progress=False)
    assert apart(snapshot(tmp_path / "stage", 6), snapshot(folder / "first stage trained" / "0", 6)) < CLOSE
    assert not (folder / "first stage trained" / "1").exists()


def test_another_number_of_processes_goes_on(two: tuple[Path, dict[str, list[str]]], tmp_path: Path) -> None:
    """1e-5 after two processes, then one, then three. Catches moments or steps that belong to a number of processes."""
    folder = tmp_path / "trained" / "0"
    folder.mkdir(parents=True)
    for path in (two[0] / "half" / "0").glob("*-3.safetensors"):
        (folder / path.name).write_bytes(path.read_bytes())
    train(recipe(steps=4), folder, CPU, progress=False)
    assert in_processes(3, tmp_path, "trained") == {"trained": ["it ended"] * 3}
    assert len(list(folder.iterdir())) == 3
    train(recipe(), tmp_path / "whole", CPU, progress=False)
    assert apart(snapshot(tmp_path / "whole", 6), snapshot(folder, 6)) < CLOSE


def test_what_goes_wrong_in_one_ends_all_of_them(two: tuple[Path, dict[str, list[str]]]) -> None:
    """Catches a process that waits for ever for one that has left: a loss that is NaN in the second alone, the clock of the
    first one alone; and a clock of another one that counts."""
    folder, ended = two
    assert [how.partition(";")[0] for how in ended["diverging"]] == [
        "RunError: training diverged at step 6: the loss is nan"
    ] * 2
    assert ended["first out of time"] == ["OutOfTime: training: out of time after 4 of 6 steps"] * 2
    assert [path.stem.partition("-")[2] for path in sorted((folder / "first out of time").rglob("*-to-*"))] == ["to-6"]
    assert ended["second out of time"] == ["it ended"] * 2
    assert all("2 processes train on parts of" in how and "= 1 images" in how for how in ended["too many"])


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (6, 1, 3, 3), (6, 5, 7), (24, 5, 7)], ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_dropout_of_rows_is_that_of_the_whole(shape: tuple[int, ...], last: bool) -> None:
    """Exact, with four heads folded into the batch too. Catches draws in another order in memory, and in evaluation."""
    x = torch.randn(shape)
    x = x.contiguous(memory_format=torch.channels_last) if last and x.ndim == 4 else x
    network, each = nn.Sequential(nn.Identity(), nn.ModuleList([nn.Dropout(0.4)])), len(x) // 6
    for_whole(network, 6, slice(2, 5))
    dropout = network[1][0]
    assert isinstance(dropout, DropoutOfWhole)
    torch.manual_seed(3)
    whole = nn.Dropout(0.4)(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x[2 * each : 5 * each]), whole[2 * each : 5 * each])
    assert torch.equal(dropout.eval()(x), x)


def test_rows_cover_a_batch_and_their_shares_make_its_mean() -> None:
    """1e-12. Catches a row twice or not at all, and the mean of unequal parts."""
    x = torch.randn(7, dtype=torch.float64)
    processes = [Processes(i, 3) for i in range(3)]
    assert torch.equal(torch.cat([x[p.rows(7)] for p in processes]), x)
    mean = sum(float(x[p.rows(7)].mean()) * p.share(7) for p in processes) / 3
    assert mean == pytest.approx(float(x.mean()), abs=1e-12)


def test_latents_of_windows_are_encoded_for_the_rows_that_are_used_alone() -> None:
    """1e-6, and the count exactly. Catches noise of other rows, and an encoder that sees the whole batch in every process."""
    torch.manual_seed(0)
    autoencoder: Autoencoder = AUTOENCODERS.build("kl-f4", image_channels=1).eval().requires_grad_(False)
    seen: list[int] = []
    moments = autoencoder.moments
    autoencoder.moments = lambda x: (seen.append(len(x)), moments(x))[1]  # type: ignore[method-assign,assignment]
    split = recipe().build_dataset().load("train")
    data = Encoded(Pixels.of(split, CPU), autoencoder, "0" * 64)
    chosen, used = torch.arange(6), torch.tensor([1, 2, 5])
    batches = []
    for rows in (None, used):
        torch.manual_seed(5)
        batches.append(data.batch(chosen, True, rows))
    assert seen == [6, 3]
    assert batches[0].stride() == batches[1].stride()
    assert float((batches[0] - batches[1])[used].abs().max()) < 1e-6


@pytest.mark.long
def test_a_sweep_under_torchrun_has_the_rows_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys exactly, the costs too, the distance to a thousandth; and what is said once. Then one process finds it done.

    Catches a row for each process, other keys, text of every process, a training that the first one did alone, and images
    that it draws alone or that are drawn twice.
    """
    monkeypatch.delenv("REPLICATION_HOME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    rows = {}
    for where in ("one", "two"):
        (tmp_path / where).mkdir()
        write_tiny(tmp_path / where)
        monkeypatch.chdir(tmp_path / where)
        if where == "one":
            assert main(["run", "tiny"]) == 0
        else:
            done = torchrun(2, DRAWING, "run", "tiny", "--device", "cpu", cwd=tmp_path / where)
            assert done.returncode == 0, done.stderr
            assert done.stdout.count("| DDIM") == 1
            drawn = Path("drawn.txt").read_text().splitlines()
            assert {line.split()[0] for line in drawn} == {"0", "1"}
            assert len({line.split(maxsplit=1)[1] for line in drawn}) == len(drawn) == 3 * 2
        journal = tmp_path / where / "runs" / "journal" / "tiny-cpu"
        rows[where] = {path.stem: json.loads(path.read_text()) for path in journal.glob("*.json")}
    assert rows["one"].keys() == rows["two"].keys()
    for key, row in rows["one"].items():
        assert rows["two"][key]["metric.fd"] == pytest.approx(row["metric.fd"], rel=1e-3)
        assert rows["two"][key]["cost.multiply_adds"] == row["cost.multiply_adds"]


@pytest.mark.long
def test_what_is_wrong_in_the_input_is_said_once(tmp_path: Path) -> None:
    """Catches one message for each process, and torchrun that ends the first one before it has said it."""
    write_tiny(tmp_path)
    done = torchrun(2, "-m", "replication", "run", "tiny", "--profile", "gpu", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("replicate: ") == 1
