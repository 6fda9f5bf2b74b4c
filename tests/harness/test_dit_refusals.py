"""What a DiT in an experiment refuses, by name and before anything is computed."""

from pathlib import Path

import pytest
import torch
from harness.tiny import write_tiny
from safetensors.torch import save_file

from replication.cli import main
from replication.harness.experiment import load_experiment
from replication.harness.given_weights import give_network
from replication.harness.jobs.cell import cells_of
from replication.harness.workplace import Workplace
from replication.registry import MODELS
from replication.training.train import load_network, train
from replication.types import InputError

DIT = 'network = { name = "dit", depth = 1, width = 16, heads = 2, patch = 2, channels = 1, resolution = 8, classes = 10 }'
CHANGES = (
    ('network = "ddpm-digits"\n', f'{DIT}\ncondition = "label"\n'),
    ('objective = "simple"', 'objective = "hybrid"'),
    ('nll = "fixed-large"\n', ""),
    ('published = [{ table = "t", row = "r" }]\n', ""),
    ("n = 16", "n = 20"),
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("patch = 2", "patch = 3"), r"patch = 3 does not divide images of resolution = 8 (valid: 1, 2, 4, 8)"),
        (("resolution = 8", "resolution = 16"), "it has resolution = 16, they have 8"),
        (("classes = 10", "classes = 1000"), "with condition label: it has classes = 1000, they have 10"),
        (('block = "adaln"', 'block = "adaln-one"'), "unknown block 'adaln-one'; did you mean 'adaln-zero'"),
        (("classes = 10,", "classes = 10, learned_variance = false,"), "has 1 output channels, objective hybrid on digits trains 2"),
    ],
)  # fmt: skip
def test_an_experiment_is_refused_with_its_row(
    change: tuple[str, str], message: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and one line. Catches a traceback, and a row that fails only when it is computed."""
    write_tiny(project, *CHANGES, ("classes = 10 }", 'classes = 10, block = "adaln" }'), change)
    assert main(["plan", "tiny"]) == 2
    found = capsys.readouterr().err
    assert "profiles.cpu.rows[0] (DDPM): " in found
    assert message in found
    assert found.count("\n") == 1


def test_a_checkpoint_of_another_size_is_refused(project: Path) -> None:
    """Ours by its recipe, a published one by its first tensor. Catches a file that is taken for the recipe it was named by."""
    small = cells_of(load_experiment(str(write_tiny(project, *CHANGES))), "cpu")[0].recipe
    wide = (*CHANGES, ("width = 16", "width = 32"))
    large = cells_of(load_experiment(str(write_tiny(project, *wide))), "cpu")[0].recipe
    cpu = torch.device("cpu")
    path = train(small, project, cpu, progress=False).rename(project / "small.safetensors")
    with pytest.raises(
        InputError, match=r"small\.safetensors: this snapshot is of another training.* differs in network;"
    ):
        load_network(large, path, cpu)
    network = MODELS.build("dit", depth=1, width=16, heads=2, patch=2, channels=1, resolution=8, classes=10)
    named = {"x_embedder.proj.weight": network.patches.project.weight.detach()}
    save_file({**named, "x_embedder.proj.bias": torch.zeros(16)}, project / "given.safetensors")
    with pytest.raises(InputError, match=r"'x_embedder\.proj\.weight' has shape \(16, 1, 2, 2\), not \(32, 1, 2, 2\)"):
        give_network(large, project / "given.safetensors", Workplace(project / "runs", cpu, 8, progress=False))
