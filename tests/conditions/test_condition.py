"""Conditional networks: which labels are asked for, what training leaves unsaid, what an experiment may ask."""

from pathlib import Path

import pytest
import torch
from harness.tiny import write_tiny
from training_recipes import CPU, recipe

from replication.check.models import randomize
from replication.conditions.condition import labels_of
from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import Cell, cells_of
from replication.registry import CONDITIONS, DATASETS
from replication.sampling.generation import Guidance, SamplePlace, SampleRequest, Sampling, Source, generate
from replication.training.train import NetworkState
from replication.types import InputError

CONDITIONAL = ('network = "ddpm-digits"\n', 'network = "ddpm-digits-label"\ncondition = "label"\n')
NO_NLL = ('nll = "fixed-large"\n', "")


def cells(folder: Path, *changes: tuple[str, str]) -> list[Cell]:
    return cells_of(load_experiment(str(write_tiny(folder, *changes))), "cpu")


def test_random_labels_belong_to_the_image_and_the_seed() -> None:
    """Catches labels that depend on the batch, and a seed that is left out."""
    whole = labels_of("random", 0, 1000, 1000, 10, seed=3)
    assert torch.equal(
        torch.cat([labels_of("random", 0, 7, 1000, 10, 3), labels_of("random", 7, 1000, 1000, 10, 3)]), whole
    )
    assert not torch.equal(labels_of("random", 0, 1000, 1000, 10, seed=4), whole)


def test_random_labels_are_equally_likely() -> None:
    """chi-squared over 10 classes and 20,000 draws below its 99.9 % quantile, 27.9. Catches a class that is left out."""
    counts = labels_of("random", 0, 20_000, 20_000, 10, seed=0).bincount(minlength=10).double()
    assert float(((counts - 2000) ** 2 / 2000).sum()) < 27.9


def test_balanced_labels_are_exactly_balanced_or_refused() -> None:
    assert labels_of("balanced", 0, 30, 30, 10, 0).bincount().tolist() == [3] * 10
    assert labels_of("uniform", 0, 32, 32, 10, 0).bincount().tolist() == [4, 4] + [3] * 8
    with pytest.raises(InputError, match="32 images can't be 10 equal classes; n = 30 can"):
        labels_of("balanced", 0, 32, 32, 10, 0)


def test_training_leaves_some_labels_unsaid_and_the_others_as_they_are() -> None:
    """Catches dropout of the wrong share (0.1 of 4,000, within five standard errors), and labels that are shuffled."""
    run = NetworkState(
        recipe(network="ddpm-digits-label", condition={"name": "label", "dropout": 0.1}, batch_size=4000), CPU
    )
    labels = torch.arange(4000) % 10
    cond = run._condition(labels, torch.arange(4000))
    assert cond is not None
    dropped = cond == 10
    assert abs(float(dropped.double().mean()) - 0.1) < 5 * (0.1 * 0.9 / 4000) ** 0.5
    assert torch.equal(cond[~dropped], labels[~dropped])


def test_a_label_is_asked_for_by_the_name_of_its_class() -> None:
    """Catches names looked up in another order than the dataset's, and a wrong name that passes."""
    label, cifar10 = CONDITIONS.build("label"), DATASETS.build("cifar10")
    names = ["ship", "airplane", "ship"]
    assert label.of_prompts(names, cifar10).tolist() == [8, 0, 8]
    assert label.null(cifar10).tolist() == 10
    with pytest.raises(InputError, match="unknown class of cifar10 'shipp'; did you mean 'ship'"):
        label.of_prompts(["ship", "shipp"], cifar10)


def test_the_key_of_a_labelled_recipe_is_what_it_was() -> None:
    """Catches a condition that enters keys otherwise than as the registry describes it: results would be orphaned."""
    described = {"name": "label", "options": {"dropout": 0.1}, "version": 1}
    assert recipe(network="ddpm-digits-label", condition="label").identity["condition"] == described


def test_a_conditional_set_is_the_same_in_any_batch_and_guidance_of_one_is_off(tmp_path: Path) -> None:
    """One grey level, from kernels that round by batch shape. Catches labels given by place in the batch."""
    made_of = recipe(network="ddpm-digits-label", condition="label")
    network = made_of.build_network().eval().requires_grad_(False)
    randomize(network, seed=5)
    denoiser, null = made_of.build_denoiser(network), CONDITIONS.build("label").null(made_of.build_dataset())
    setting = Sampling.model_validate({"sampler": "ddim", "spacing": "uniform", "steps": 3, "clip": "x0+eps"})

    def drawn(name: str, batch: int, weight: float | None, shift: int = 0) -> torch.Tensor:
        around = denoiser if weight is None else Guidance(weight=weight).around(denoiser, null)
        request = SampleRequest(setting, 12, 0, lambda start, stop: (torch.arange(start, stop) + shift) % 10)
        return generate(
            Source(around, (1, 8, 8)), request, SamplePlace(tmp_path / name, batch, CPU, progress=False)
        ).images.int()

    plain = drawn("plain", 12, None)
    assert (drawn("small", 5, None) - plain).abs().max() <= 1
    assert (drawn("off", 12, 1.0) - plain).abs().max() == 0
    assert (drawn("guided", 12, 4.0) - plain).abs().max() > 1
    assert (drawn("other", 12, None, shift=1) - plain).abs().max() > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([('network = "ddpm-digits"', 'network = "ddpm-digits-label"')], "with condition none: it has classes = 10, they have 0"),
        ([('network = "ddpm-digits"\n', 'network = "ddpm-digits"\ncondition = "label"\n')], "with condition label: it has classes = 0, they have 10"),
        ([CONDITIONAL], "nll = 'fixed-large': the bound is that of an unconditional network"),
        ([CONDITIONAL, NO_NLL], "16 images can't be 10 equal classes"),
        ([('clip = "none"\n', 'clip = "none"\nguidance = { weight = 2.0 }\n')], "guidance needs a conditional network"),
        ([CONDITIONAL, NO_NLL, ("n = 16", "n = 20"), ('clip = "none"\n', 'clip = "none"\nguidance = { weight = 2.0, channels = "al" }\n')], "did you mean 'all'"),
        ([CONDITIONAL, NO_NLL, ("n = 16", "n = 20"), ('clip = "none"\n', 'clip = "none"\nguidance = { wait = 2.0 }\n')], "did you mean 'weight'"),
        ([('network = "ddpm-digits"\n', 'network = "ddpm-digits"\ncondition = "lable"\n')], "did you mean 'label'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(tmp_path: Path, changes: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        cells(tmp_path, *changes)


def test_keys_of_unconditional_cells_know_nothing_of_labels(tmp_path: Path) -> None:
    """Catches sample sets that are drawn anew because a policy changed that they don't depend on."""
    one, other = (cells(tmp_path, ("n = 16", f'n = 16\nlabels = "{policy}"'))[1] for policy in ("random", "uniform"))
    assert one.sample_key == other.sample_key
    conditional = [CONDITIONAL, NO_NLL]
    one, other = (
        cells(tmp_path, *conditional, ("n = 16", f'n = 16\nlabels = "{policy}"'))[1] for policy in ("random", "uniform")
    )
    assert one.sample_key != other.sample_key
