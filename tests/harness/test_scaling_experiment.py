"""experiments/dit.toml and experiments/scaling.toml: what they promise of their networks."""

import re
from collections import defaultdict

import pytest

from oracles.costs import dit_cost, unet_cost
from replication.dit.model import DiT
from replication.harness.experiment import load_experiment
from replication.harness.home import project
from replication.harness.jobs.cell import Cell, cells_of, cost_columns

PROFILES = ("cpu", "evening", "gpu")


def table_of_the_file() -> tuple[dict[str, float], dict[str, dict[str, tuple[float, ...]]]]:
    """The table in the head of scaling.toml, millions of multiply-adds: the nominal one at 1x, and each family's four."""
    nominal, found = {}, {}
    for line in (project() / "experiments" / "scaling.toml").read_text(encoding="utf-8").splitlines():
        match = re.fullmatch(r"# +(cpu|evening|gpu|DiT|U-Net)((?: +[0-9.]+){4})", line)
        if match is None:
            continue
        name, numbers = match[1], tuple(map(float, match[2].split()))
        if name in PROFILES:
            profile, nominal[name], found[name] = name, numbers[0], {}
            assert numbers == pytest.approx([numbers[0] * times for times in (1, 2, 4, 8)])
        else:
            found[profile][name] = numbers
    assert all(list(found[profile]) == ["DiT", "U-Net"] for profile in PROFILES)
    return nominal, found


def families(profile: str) -> dict[str, dict[int, list[Cell]]]:
    """Cells by family and size."""
    found: dict[str, dict[int, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells_of(load_experiment("scaling"), profile):
        if cell.label.endswith(", half"):
            continue  # of the same trainings, on the way
        family, size, seed = cell.label.split(", ")
        assert seed == f"seed {cell.recipe.training.seed}"
        found[family][int(size.removesuffix("x"))].append(cell)
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_families_are_matched_in_multiply_adds(profile: str) -> None:
    """Within 10 % of 1, 2, 4 and 8 times the nominal, and of each other; the numbers that the file states to their digits.

    Catches: a network that was changed without its partner, flops for multiply-adds, and a label given to one family.
    """
    nominal, table = table_of_the_file()
    for family, sizes in families(profile).items():
        found = [cost_columns(sizes[times][0].recipe, 1)["cost.multiply_adds"] for times in (1, 2, 4, 8)]
        for times, measured, stated in zip((1, 2, 4, 8), found, table[profile][family], strict=True):
            assert abs(measured / (times * nominal[profile] * 1e6) - 1) <= 0.10
            assert abs(measured / 1e6 / stated - 1) <= 2e-3
    pairs = zip(*table[profile].values(), strict=True)
    assert all(abs(a / b - 1) <= 0.10 for a, b in pairs)


@pytest.mark.parametrize("profile", PROFILES)
def test_formulas_are_what_the_rows_count(profile: str) -> None:
    """Exact, all sixteen networks. Catches a part that the counter or a formula leaves out, a head's matrices among them."""
    for family, sizes in families(profile).items():
        for cells in sizes.values():
            network = cells[0].recipe.build_network()
            one = dit_cost(network) if family == "DiT" else unet_cost(network)  # type: ignore[arg-type]
            row = cost_columns(cells[0].recipe, 50)
            found = (row["cost.multiply_adds"], row["cost.parameters"], row["cost.activation_bytes"])
            assert found == (one.multiply_adds, one.parameters, one.activation_bytes)


@pytest.mark.parametrize("profile", PROFILES)
def test_families_differ_in_the_network_alone(profile: str) -> None:
    """Catches: a learning rate, a sampler or a number of steps of one family's own, a seed that is run twice or not at all."""
    settings, checkpoints = set(), set()
    for sizes in families(profile).values():
        assert list(sizes) == [1, 2, 4, 8]
        for cells in sizes.values():
            assert sorted(cell.recipe.training.seed for cell in cells) == [0, 1, 2]
            assert len({str(cell.recipe.network) for cell in cells}) == 1
            checkpoints |= {cell.recipe.key for cell in cells}
            for cell in cells:
                rest = cell.recipe.model_dump(exclude={"network": True, "training": {"seed"}})
                settings.add(repr((rest, cell.sampling, cell.protocol)))
    assert len(settings) == 1
    assert len(checkpoints) == 24


@pytest.mark.parametrize("profile", PROFILES)
def test_dit_rows_of_one_size_have_nearly_equal_parameters(profile: str) -> None:
    """Within 4 %, and a quarter of the tokens. Catches a patch that came with another width, and designs of other sizes."""
    cells = {cell.label: cell for cell in cells_of(load_experiment("dit"), profile)}
    for size in ("S", "B", "L") if profile == "cpu" else ("S", "B", "L", "XL"):
        four, two = (cost_columns(cells[f"DiT-{size}/{patch}"].recipe, 250) for patch in (4, 2))
        assert abs(four["cost.parameters"] / two["cost.parameters"] - 1) <= 0.04
        assert 3 < two["cost.multiply_adds"] / four["cost.multiply_adds"] < 5
    for block in ("adaLN", "cross-attention", "in-context"):
        network, base = cells[block].recipe.build_network(), cells["DiT-B/2"].recipe.build_network()
        assert isinstance(network, DiT)
        assert isinstance(base, DiT)
        assert network.block == block.lower()
        assert (network.depth, network.width, network.patch) == (base.depth, base.width, base.patch)
        assert cells[block].recipe.training == cells["DiT-B/2"].recipe.training


def test_the_paper_profile_is_the_papers() -> None:
    """Its facts: AdamW at 1e-4 and nothing else done to the gradient, EMA 0.9999, batches of 256, latents times 0.18215,
    guided on 3 of 4 channels where the README's values are, and decoded as they were. Catches: a default of DDPM's in DiT's
    training, and guided images from the other decoder.
    """
    cells = {cell.label: cell for cell in cells_of(load_experiment("dit"), "paper")}
    training = cells["DiT-XL/2"].recipe.training
    assert (training.steps, training.batch_size, training.learning_rate) == (400_000, 256, 1e-4)
    assert (training.warmup, training.grad_clip, training.weight_decay, training.ema_decay) == (0, 0, 0, 0.9999)
    assert cells["DiT-XL/2"].recipe.latent_shape == (4, 32, 32)
    assert cells["DiT-XL/2 at 512, 3M"].recipe.latent_shape == (4, 64, 64)
    guided = cells["DiT-XL/2, 7M, guidance 1.5 on 3 of 4"]
    assert guided.sampling.guidance is not None
    assert (guided.sampling.guidance.channels, guided.targets["fd"]) == ("dit", 2.27)
    assert {value.value for value in guided.published if value.metric == "fd"} == {2.27, 2.21}
    # of Tables 2 and 3, all of whose images ft-EMA decoded (appendix D), guided or not
    tables_2_and_3 = {"DiT-XL/2, 7M", "DiT-XL/2 at 512, 3M, ft-EMA"}
    for label, cell in cells.items():
        stage, by_ema = cell.recipe.first_stage, cell.sampling.guidance is not None or label in tables_2_and_3
        assert stage is not None
        assert stage.name == ("kl-f8-ema" if by_ema else "kl-f8-mse")
        assert (stage.loss.pixel, stage.loss.perceptual_weight) == (("l1", 1) if by_ema else ("l2", 0.1))
    assert sum(len(cell.published) for cell in cells.values()) == 50
