"""SD3 and FLUX behind the Denoiser: a step of ours is the pipeline's own, of tiny pipelines with random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conditions import tiny_encoders as tiny
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)  # fmt: skip
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from replication.check.models import randomize
from replication.diffusion import Denoiser, sample
from replication.diffusion.guidance import Guided
from replication.registry import CONDITIONS, DATASETS, MODELS, SAMPLERS, SCHEDULES
from replication.types import InputError

DIGITS = DATASETS.build("digits")
PROMPTS = ["a ship", "a photo of an aeroplane"]
STEPS = 3


def clip(kind: type, width: int, seed: int, **more: Any) -> torch.nn.Module:
    tokenizer = tiny.clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=40, eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id, **more,
    )  # fmt: skip
    return tiny._randomized(kind(config), seed).eval()


def vae() -> AutoencoderKL:
    return AutoencoderKL(latent_channels=4, block_out_channels=(8,), norm_num_groups=2)


def sd3() -> StableDiffusion3Pipeline:
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=32, caption_projection_dim=16, pooled_projection_dim=20, pos_embed_max_size=8, qk_norm="rms_norm",
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer.eval(), FlowMatchEulerDiscreteScheduler(shift=3.0), vae(),
        clip(CLIPTextModelWithProjection, 8, 1, projection_dim=8), tiny.clip_tokenizer(),
        clip(CLIPTextModelWithProjection, 16, 2, projection_dim=12), tiny.clip_tokenizer(),
        tiny_t5(32), tiny.t5_tokenizer(),
    )  # fmt: skip


def tiny_t5(width: int) -> torch.nn.Module:
    network = tiny.t5_network()
    config = network.config
    config.d_model = width
    return tiny._randomized(type(network)(config), 3).eval()


def flux(guided: bool) -> FluxPipeline:
    transformer = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32,
        pooled_projection_dim=16, guidance_embeds=guided, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    return FluxPipeline(
        FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae(), clip(CLIPTextModel, 16, 1), tiny.clip_tokenizer(),
        tiny_t5(32), tiny.t5_tokenizer(), transformer.eval(),
    )  # fmt: skip


def saved(pipeline: Any, folder: Path) -> Path:
    randomize(pipeline.transformer, seed=4)
    pipeline.save_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return folder


def steps_of(pipeline: Any, latents: Tensor, pack: Callable[[Tensor], Tensor], **options: Any) -> list[Tensor]:
    """The latents before and after each of the pipeline's own steps."""
    found = [pack(latents)]

    def keep(_: Any, i: int, t: Any, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        found.append(kept["latents"].clone())
        return kept

    pipeline(PROMPTS, num_inference_steps=STEPS, latents=pack(latents), height=8, width=8, output_type="latent", callback_on_step_end=keep, **options)  # fmt: skip
    return found


def unpacked(x: Tensor, packed: bool) -> Tensor:
    """[B,16,16] of FLUX as [B,4,8,8], by the pipeline's own function."""
    return FluxPipeline._unpack_latents(x, 8, 8, 1) if packed else x


@pytest.mark.parametrize(("kind", "weight"), [("sd3", 1.0), ("sd3", 4.0), ("flux", 1.0), ("flux-distilled", 1.0)])
def test_each_step_is_the_pipelines_own(tmp_path: Path, kind: str, weight: float) -> None:
    """max-abs <= 1e-5, every step from the pipeline's own latents, the text encoded here. Catches: a time of 0 to 1 for one of
    0 to 1000, velocity of the other sign, squares unpacked in another order, rows and columns exchanged, guidance that is
    not told, a pooled text of another encoder, and a null that is not the empty text."""
    pipeline = sd3() if kind == "sd3" else flux(kind == "flux-distilled")
    folder = saved(pipeline, tmp_path / "pipe")
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    packed = kind != "sd3"
    if packed:
        of_pipeline = steps_of(
            pipeline, latents, lambda x: FluxPipeline._pack_latents(x, 2, 4, 8, 8), guidance_scale=2.5
        )
    else:
        of_pipeline = steps_of(pipeline, latents, lambda x: x, guidance_scale=weight)
    told = {"guidance": 2.5} if packed else {}
    network = MODELS.build("diffusers", path=str(folder / "transformer"), **told).eval()
    assert network.in_channels == 4
    condition = CONDITIONS.build("pipeline-text", model=str(folder))
    cond, schedule = condition.of_prompts(PROMPTS, DIGITS), SCHEDULES.build("flow")
    denoiser: Any = Denoiser(network, schedule, parameterization="velocity")
    if weight != 1:
        denoiser = Guided(denoiser, weight, condition.null(DIGITS))
    sigmas = pipeline.scheduler.sigmas.double()
    with torch.no_grad():
        for i in range(STEPS):
            before, after = (unpacked(of_pipeline[j], packed) for j in (i, i + 1))
            ours = sample(denoiser, SAMPLERS.build("euler"), sigmas[i : i + 2], before, cond=cond)
            assert (after - before).abs().max() > 1e-2
            assert (ours - after).abs().max() <= 1e-5, i


def test_positions_of_sd3_are_kept_with_its_weights(tmp_path: Path) -> None:
    """Exact. Catches: a buffer of the file that no checkpoint of ours would hold, and a network refused for it."""
    pipeline = sd3()
    pipeline.transformer.pos_embed.pos_embed += 1
    folder = saved(pipeline, tmp_path / "pipe")
    network = MODELS.build("diffusers", path=str(folder / "transformer"))
    assert network.state_dict().keys() == dict(network.named_parameters()).keys()
    assert torch.equal(network.model.pos_embed.pos_embed, pipeline.transformer.pos_embed.pos_embed)
    assert not network.model.pos_embed.pos_embed.requires_grad
    with pytest.raises(InputError, match="SD3Transformer2DModel needs a context and a pooled text"):
        network(torch.zeros(1, 4, 8, 8), torch.zeros(1))


def test_folders_that_are_no_such_pipeline_are_refused(tmp_path: Path) -> None:
    """Each names the file and what would fit."""
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    for model, message in (
        (tmp_path / "none", "is no folder, was not fetched, and is not in the Hub's cache"),
        (tmp_path, r"model_index.json 'StableDiffusionPipeline'; did you mean 'StableDiffusion3Pipeline'"),
    ):
        with pytest.raises(InputError, match=message):
            CONDITIONS.build("pipeline-text", model=str(model)).of_prompts(["a ship"], DIGITS)
    (tmp_path / "model_index.json").unlink()
    with pytest.raises(InputError, match=r"model_index.json: there is no such file; a pipeline's folder has one"):
        CONDITIONS.build("pipeline-text", model=str(tmp_path)).of_prompts(["a ship"], DIGITS)
