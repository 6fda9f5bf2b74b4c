"""experiments/ldm.toml: what its comments promise, and the official models' own settings in the rows of profile paper."""

import pytest
import torch

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import Cell, cells_of, cost_columns
from replication.harness.jobs.first_stage import first_stage_cells
from replication.registry import SAMPLERS
from replication.sampling.generation import Guidance
from replication.settings import Part
from replication.types import InputError


def cells(profile: str) -> dict[str, Cell]:
    return {cell.label: cell for cell in cells_of(load_experiment("ldm"), profile)}


@pytest.mark.parametrize("profile", ["evening", "gpu"])
def test_the_compression_sweep_spends_equal_training_compute(profile: str) -> None:
    """Within 10 %, in as many steps. Catches a sweep in which one f is trained longer."""
    of = [cells(profile)[f"f = {f}"].recipe for f in (1, 2, 4)]
    spent = [cost_columns(recipe, 1)["cost.training_multiply_adds"] for recipe in of]
    assert max(spent) <= 1.1 * min(spent)
    assert len({recipe.training.steps for recipe in of}) == 1
    assert len({recipe.network.options["width"] for recipe in of}) == 1


def test_networks_of_equal_size_see_more_images_of_latents() -> None:
    """In the ratio 1 : 4 : 16. Catches another network in one of the rows, and a first stage that none is trained on."""
    of = cells("gpu")
    seen = [of[f"f = {f}"].recipe.training for f in (1, 2, 4)]
    assert [t.steps * t.batch_size // (5000 * 64) for t in seen] == [1, 4, 16]
    assert {cell.recipe.first_stage.name if cell.recipe.first_stage else "none" for cell in of.values()} == {"none", "kl-f2", "kl-f4"}  # fmt: skip


@pytest.mark.parametrize(
    ("label", "beta_end", "steps", "eta", "latent"),
    [
        ("CelebA-HQ", 0.0195, 200, 0.0, (3, 64, 64)),
        ("FFHQ", 0.0195, 200, 1.0, (3, 64, 64)),
        ("LSUN-Churches", 0.0155, 400, 0.0, (4, 32, 32)),
        ("LSUN-Bedrooms", 0.0195, 200, 1.0, (3, 64, 64)),
        ("ImageNet, f = 8", 0.0195, 200, 1.0, (4, 32, 32)),
        ("ImageNet, LDM-4-G", 0.0195, 250, 1.0, (3, 64, 64)),
    ],
)
def test_each_official_model_has_its_own_betas_steps_and_eta(
    label: str, beta_end: float, steps: int, eta: float, latent: tuple[int, int, int]
) -> None:
    """Exact, from the official configurations and table. Catches one schedule for all of them, and uniform DDIM: the
    official one shifts every timestep by one and ends at alphas_cumprod[0], 0.9985.
    """
    cell = cells("paper")[label]
    assert cell.sampling.steps == steps
    schedule = cell.recipe.build_schedule()
    assert float(schedule.betas[-1]) == pytest.approx(beta_end, abs=1e-12)
    assert float(schedule.betas[0]) == pytest.approx(0.0015, abs=1e-12)
    assert cell.sampling.sampler.build(SAMPLERS).eta == eta
    assert cell.recipe.latent_shape == latent
    times = cell.sampling.times(schedule)
    timesteps = schedule.timestep(times[:-1]).long()
    assert timesteps.tolist() == [k + 1 for k in range(0, 1000, 1000 // steps)][::-1]  # util.py's rule
    assert float(schedule.alpha(times[-1]) ** 2) == pytest.approx(0.9985, abs=1e-12)
    assert cell.sampling.clip == "none"
    assert cell.published


def test_official_first_stages_weigh_the_codebook_and_limit_the_discriminator() -> None:
    """Catches the other quantiser in the published VQ models, and 1e4 where the losses are means: 196,608 times too much."""
    for stage in first_stage_cells(load_experiment("ldm"), "paper"):
        first = stage.first_stage
        if stage.label.startswith("vq"):
            assert first.autoencoder.options["beta_weighs"] == "codebook"
        else:
            assert first.loss.adaptive_limit * 256 * 256 * 3 == pytest.approx(1e4, rel=1e-3)


def test_every_first_stage_of_the_paper_has_its_published_value() -> None:
    """Catches a first stage without the paper's rFID, and latents of another shape than published."""
    of = {stage.label: stage for stage in first_stage_cells(load_experiment("ldm"), "paper")}
    shapes = {name: stage.first_stage.latent_shape((3, 256, 256)) for name, stage in of.items()}
    assert shapes == {
        "vq-f4": (3, 64, 64), "vq-f8": (4, 32, 32), "vq-f8-n256": (4, 32, 32), "vq-f16": (8, 16, 16),
        "kl-f4": (3, 64, 64), "kl-f8": (4, 32, 32), "kl-f16": (16, 16, 16), "kl-f32": (64, 8, 8),
        "kl-f8-text": (4, 32, 32),
    }  # fmt: skip
    assert not of.pop("kl-f8-text").published  # it came with the text model, and no table has it
    assert {name: stage.published[0].value for name, stage in of.items()} == {
        "vq-f4": 0.58, "vq-f8": 1.14, "vq-f8-n256": 1.49, "vq-f16": 5.15,
        "kl-f4": 0.27, "kl-f8": 0.90, "kl-f16": 0.87, "kl-f32": 2.04,
    }  # fmt: skip


def test_a_network_without_a_null_label_is_neither_guided_nor_trained_with_one() -> None:
    """The f = 8 network of ImageNet embeds 1000 labels. Catches a null label that nothing trains, and one that is asked of a
    table without it."""
    cell = next(cell for cell in cells_of(load_experiment("ldm"), "paper") if cell.label == "ImageNet, f = 8")
    cell.check()
    guided = cell.model_copy(update={"sampling": cell.sampling.with_fields(guidance=Guidance(weight=2.0))})
    with pytest.raises(InputError, match="guidance needs the null condition, and network ldm-imagenet-8 has none"):
        guided.check()
    dropping = cell.recipe.with_fields(condition=Part(name="label"))
    with pytest.raises(InputError, match=r"recipe\.condition\.dropout = 0\.1: network ldm-imagenet-8 has no null"):
        dropping.check()
    with torch.device("meta"):
        network = cell.recipe.build_network()
    with pytest.raises(InputError, match=r"labels go from 0 to 999 \(there is no null label\), not 1000"):
        network.context_encoder.check(torch.tensor([1000]))
