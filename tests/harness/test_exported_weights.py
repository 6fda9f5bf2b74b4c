"""Weights that leave as folders of diffusers: they answer like ours, their pipelines draw, their cards are what they say, and
what diffusers cannot say is refused by name."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, LDMPipeline
from harness.tiny import write_tiny
from harness.tiny_latent import write_tiny_latent
from huggingface_hub import ModelCard
from torch import Tensor

from replication.check.models import randomize
from replication.cli import main
from replication.diffusion.schedule import DiscreteSchedule
from replication.harness.experiment import load_experiment
from replication.harness.exported_weights import CARD
from replication.harness.jobs.cell import cells_of
from replication.harness.workplace import Workplace
from replication.layers.as_diffusers import as_diffusers, check_equal, spelling_of
from replication.registry import AUTOENCODERS, MODELS, OBJECTIVES, SCHEDULES, Registry
from replication.training.diffusers_options import Meaning, differing_training, scheduler_of
from replication.types import InputError

UNET = {"resolution": 8, "channels": 3, "width": 16, "multipliers": [1, 2], "blocks": 1, "attention": [2], "groups": 4}
ADM = {"scale_shift": True, "resampling_blocks": True}
DIT = {"depth": 2, "width": 48, "heads": 4, "patch": 2, "channels": 4, "resolution": 8, "classes": 5}
LABELS = torch.tensor([1, 3])


def there(registry: Registry, name: str, **options: object) -> tuple[Any, Any]:
    """A network with random weights, and diffusers' model of it."""
    network = registry.build(name, **options).eval()
    randomize(network, seed=1)
    module = import_module(f"{registry.get(name).__module__.rpartition('.')[0]}.published_weights")
    return network, as_diffusers(network, spelling_of(network, module.SPELLINGS))


@pytest.mark.parametrize(
    ("name", "options", "kind", "cond"),
    [
        ("ddpm-digits", {}, "UNet2DModel", None),
        ("ddpm-digits", {"learned_variance": True}, "UNet2DModel", None),
        ("ddpm-digits-label", {}, "UNet2DModel", LABELS),
        ("ldm-unet", {"head_channels": 8, **UNET}, "UNet2DModel", None),
        ("ldm-unet", {"heads": 2, **UNET, "classes": 3}, "UNet2DModel", LABELS),
        ("ldm-unet", {"head_channels": 8, **UNET, **ADM}, "UNet2DModel", None),
        ("ldm-unet", {"head_channels": 8, **UNET, **ADM, "attention": [1, 2]}, "UNet2DModel", None),
        ("ldm-unet", {"heads": 2, **UNET, "context": 12}, "UNet2DConditionModel", torch.ones(2, 5, 12)),
        ("ldm-unet", {"head_channels": 8, **UNET, "context": 12, "depth": 2, "attention": [1, 2]}, "UNet2DConditionModel",
         torch.ones(2, 5, 12)),
        ("dit", DIT, "DiTTransformer2DModel", LABELS),
        ("dit", {**DIT, "learned_variance": False}, "DiTTransformer2DModel", LABELS),
    ],
)  # fmt: skip
def test_networks_answer_alike(name: str, options: dict[str, Any], kind: str, cond: Tensor | None) -> None:
    """max-abs <= 1e-5 of the largest output, on random weights. Catches: a tensor in another's place, q, k and v in another
    order, and an option left at diffusers' default."""
    network, model = there(MODELS, name, **options)
    channels = network.in_channels
    x, t = torch.randn(2, channels, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([3.0, 700.0])
    named = {} if cond is None else {"encoder_hidden_states" if cond.is_floating_point() else "class_labels": cond}
    with torch.no_grad():
        assert type(model).__name__ == kind
        check_equal(network(x, t, cond), model(x, t, **named).sample, name)
        with pytest.raises(InputError, match="gives something else, by"):
            check_equal(network(x, t + 1, cond), model(x, t, **named).sample, name)


@pytest.mark.parametrize("name", ["kl-f4", "kl-f16", "vq-f4", "vq-f8"])
def test_first_stages_answer_alike(name: str) -> None:
    """max-abs <= 1e-5 of the largest output. Catches: attention at another level, and a scale that is lost."""
    small = {"width": 8, "groups": 4, "scaling": "sd-v1", **({"codebook": 32} if name.startswith("vq") else {})}
    network, model = there(AUTOENCODERS, name, **small)
    side = 4 * network.f
    x, scale = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)), model.config.scaling_factor
    with torch.no_grad():
        encoded, z = model.encode(x), network.encode(x)
        mode = encoded.latent_dist.mode() if name.startswith("kl") else encoded.latents
        check_equal(z, mode * scale, name)
        check_equal(network.decode(z), model.decode(z / scale).sample, name)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ldm-unet", {"heads": 2, **UNET, "attention": [1, 2]}, "UNet2DModel cannot say attention_head_dim"),
        ("ldm-unet", {"heads": 2, **UNET, "timestep_scale": 0.25}, "cannot say timestep_scale = 0.25"),
        ("ldm-unet", {"heads": 2, **UNET, "context": 12, "classes": 3}, r"no place for 'context_encoder\.weight'"),
        ("dit", {**DIT, "block": "in-context"}, "DiTTransformer2DModel cannot say norm_type"),
        ("dit", {**DIT, "qk_norm": True}, r"no place for 'blocks\.0\.attention\.qk_norm"),
        ("dit", {**DIT, "classes": 0}, "DiTTransformer2DModel cannot be built like this network"),
        ("sit", DIT, "cannot say time_of_the_straight_line"),
        ("gaussian-oracle", {}, "no class of diffusers computes what GaussianOracle does"),
    ],
)
def test_what_diffusers_cannot_say_is_refused_by_name(name: str, options: dict[str, Any], message: str) -> None:
    """Catches: a folder that loads without an error and computes another function."""
    with pytest.raises(InputError, match=message):
        there(MODELS, name, **options)


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "cosine", "sigmoid_beta", "warmup10"])
@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
def test_schedulers_say_the_training(name: str, parameterization: str) -> None:
    """Relative 1e-6 of the products of alphas, and read back as the same. Catches: betas by a name that means others."""
    schedule, objective = SCHEDULES.build(name, T=50), OBJECTIVES.build("hybrid")
    meaning = Meaning(parameterization, schedule, name, objective)
    kind, says = scheduler_of(meaning, "fixed-large", clips=False)
    made = DDPMScheduler.from_config(says)
    assert kind == "DDPMScheduler"
    assert isinstance(schedule, DiscreteSchedule)
    assert torch.allclose(made.alphas_cumprod.double(), schedule.alphas_cumprod, rtol=1e-4, atol=1e-7)
    assert made.config.variance_type == "learned_range"
    assert differing_training({"_class_name": kind, **says}, meaning) == []


def test_flows_are_said_and_means_are_not() -> None:
    flow, simple = SCHEDULES.build("flow"), OBJECTIVES.build("simple")
    assert scheduler_of(Meaning("velocity", flow, "flow", simple), "fixed-large", False)[0].startswith("FlowMatchEuler")
    linear, ends_in_noise = SCHEDULES.build("linear", T=50), SCHEDULES.build("zero_terminal_snr", T=50)
    for of in (("mean", linear, "linear"), ("eps", flow, "flow"), ("v", ends_in_noise, "zero_terminal_snr")):
        meaning = Meaning(*of, simple)
        with pytest.raises(InputError, match="no scheduler of diffusers says parameterization"):
            scheduler_of(meaning, "fixed-large", False)


def of_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the lines of a card come to, run beside it."""
    monkeypatch.chdir(folder)
    code = re.search(r"```python\n(.+?)```", (folder / CARD).read_text(), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    return names


def test_a_trained_row_becomes_a_pipeline_that_draws(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches: raw weights in the place of averaged ones, a schedule or a clip that is diffusers' default, a card without
    figures, intervals or hashes, and a folder that is written over."""
    write_tiny(project)
    assert main(["run", "tiny", "--row", "DDPM", "--device", "cpu"]) == 0
    command = ["weights", "export", "tiny", "--row", "DDPM", "--diffusers", "out"]
    assert main(command) == 0
    out = project / "out"
    pipeline = DDPMPipeline.from_pretrained(out)
    assert pipeline(batch_size=2, num_inference_steps=3, output_type="np").images.shape == (2, 8, 8, 1)
    says = pipeline.scheduler.config
    assert (says.num_train_timesteps, says.beta_end, says.variance_type, says.clip_sample) == (
        20,
        0.3,
        "fixed_large",
        True,
    )
    card = ModelCard((out / CARD).read_text())
    (result,) = [one for one in card.data.eval_results if one.metric_type == "fd-digits"]
    assert result.metric_args["low"] <= result.metric_value <= result.metric_args["high"]
    assert "n = 16, against digits test" in result.metric_args["protocol"]
    assert (card.data.license, card.data.library_name) == ("other", "diffusers")
    assert "| protocol.quantizer | `round` |" in card.text
    assert len(re.findall(r"SHA-256 `[0-9a-f]{64}`", card.text)) == 1
    assert len(of_card(out, monkeypatch)["images"]) == 4
    monkeypatch.chdir(project)
    capsys.readouterr()
    assert main(command) == 2
    assert "the weights take a new or an empty folder" in capsys.readouterr().err
    # and it comes back: its words are the recipe's, and its tensors
    monkeypatch.setenv("REPLICATION_HOME", str(project / "other"))
    assert main(["weights", "add", "tiny", "--profile", "cpu", "--row", "DDPM", "--network", "out/unet"]) == 0
    assert main(["weights", "export", "tiny", "--row", "DDPM", "--diffusers", "again"]) == 0
    name = "unet/diffusion_pytorch_model.safetensors"
    assert (project / "again" / name).read_bytes() == (out / name).read_bytes()
    assert "This row was not measured." in (project / "again" / CARD).read_text()


def test_latents_leave_with_their_first_stage(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches: a scale of latents that was measured and is not written, and text that a U-Net of diffusers never read."""
    write_tiny_latent(project)
    command = ["weights", "export", "latent", "--row", "latents", "--diffusers", "out"]
    assert main(command) == 2
    assert "its weights are not here; `replicate run latent --profile cpu` trains them" in capsys.readouterr().err
    place = Workplace(project / "runs", torch.device("cpu"), 8, progress=False)
    for cell in cells_of(load_experiment("latent"), "cpu")[1:]:
        place.trained(cell.recipe)
    assert main(command) == 0
    pipeline = LDMPipeline.from_pretrained(project / "out")
    assert pipeline.vqvae.config.scaling_factor not in (1.0, 0.18215)
    assert len(of_card(project / "out", monkeypatch)["images"]) == 4
    monkeypatch.chdir(project)
    capsys.readouterr()
    assert main(["weights", "export", "latent", "--row", "text", "--diffusers", "words"]) == 2
    assert "UNet2DConditionModel has no place for 'context_encoder." in capsys.readouterr().err
    assert not (project / "words").exists()
    assert not list(project.glob(".export-*"))


DIT_ROW = """
[[profiles.cpu.rows]]
label = "dit"
sampler = { name = "ancestral", variance = "learned" }
spacing = "uniform"
steps = [2]
clip = "none"
[profiles.cpu.rows.recipe]
first_stage = "small"
condition = "label"
objective = "hybrid"
"""


def test_a_dit_draws_by_the_lines_of_its_card(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches: a pipeline of other parts, sinusoids that nobody sets right, and a null label that diffusers has elsewhere."""
    write_tiny_latent(project)
    path = project / "experiments" / "latent.toml"
    shared, network = path.read_text().split("[[profiles.cpu.rows]]")[0].split("[profiles.cpu.recipe.network]")
    dit = '[profiles.cpu.recipe.network]\nname = "dit"\ndepth = 2\nwidth = 24\nheads = 2\npatch = 2\n'
    shared = shared.replace('published = [{ table = "t", row = "r" }]\n', "")
    path.write_text(shared + dit + network[network.index("[profiles.cpu.recipe.training]") :] + DIT_ROW)
    (cell,) = cells_of(load_experiment("latent"), "cpu")
    Workplace(project / "runs", torch.device("cpu"), 8, progress=False).trained(cell.recipe)
    assert main(["weights", "export", "latent", "--row", "dit", "--diffusers", "out"]) == 0
    assert "here the null label is 10: guidance_scale stays 1" in capsys.readouterr().out
    names = of_card(project / "out", monkeypatch)
    assert len(names["images"]) == 2
    assert names["pipeline"].transformer.transformer_blocks[0].norm1.emb.time_proj.downscale_freq_shift == 0
