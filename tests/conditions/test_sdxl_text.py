"""SDXL's text: what diffusers' pipeline makes of a prompt, from a pipeline's folders and from one official file."""

from pathlib import Path

import pytest
import torch
from conditions import tiny_encoders as tiny
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from replication.conditions.sdxl_text import SIZES, SdxlText
from replication.layers.conditioning import parted
from replication.registry import CONDITIONS, DATASETS
from replication.types import InputError

CIFAR10 = DATASETS.build("cifar10")
LENGTH, FIRST, SECOND, POOLED = 40, 64, 128, 96
TEXTS = ["a ship", "a photo of a cat", "an aeroplane"]


def tokenizer_2() -> CLIPTokenizer:
    """OpenCLIP's pads with token 0."""
    tokenizer = tiny.clip_tokenizer()
    tokenizer.pad_token = "!"
    return tokenizer


def config(width: int, activation: str) -> CLIPTextConfig:
    tokenizer = tiny.clip_tokenizer()
    return CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=96, num_hidden_layers=3, max_position_embeddings=LENGTH,
        num_attention_heads=width // 64, hidden_act=activation, projection_dim=POOLED, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionXLPipeline:
    """Without what it draws with; saved in its `folder`."""
    first = tiny._randomized(CLIPTextModel(config(FIRST, "quick_gelu")), 1).eval()
    second = tiny._randomized(CLIPTextModelWithProjection(config(SECOND, "gelu")), 2).eval()
    folder = tmp_path_factory.mktemp("sdxl")
    parts = {
        "text_encoder": first,
        "tokenizer": tiny.clip_tokenizer(),
        "text_encoder_2": second,
        "tokenizer_2": tokenizer_2(),
    }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    made = StableDiffusionXLPipeline(vae=None, unet=None, scheduler=None, **parts)
    made.folder = folder
    return made


def expected(pipeline: StableDiffusionXLPipeline) -> tuple[Tensor, Tensor]:
    context, _, pooled, _ = pipeline.encode_prompt(TEXTS, device=torch.device("cpu"), do_classifier_free_guidance=False)
    return context, pooled


def built(folder: Path, **options: object) -> SdxlText:
    made: SdxlText = CONDITIONS.build("sdxl-text", model=str(folder), **options)
    return made


def test_a_prompt_is_what_the_pipeline_makes_of_it(pipeline: StableDiffusionXLPipeline) -> None:
    """max-abs 1e-5. Catches: the last layer for the one before it, its norm, padding of one encoder in the other, the pooled
    text of the first, an activation for the other."""
    cond = built(pipeline.folder).of_prompts(TEXTS, CIFAR10)
    assert cond.shape == (3, 1 + LENGTH, FIRST + SECOND)
    context, row = parted(cond)
    of_pipeline, pooled = expected(pipeline)
    assert of_pipeline.std() > 0.1
    assert (context - of_pipeline).abs().max() <= 1e-5
    assert (row[:, :POOLED] - pooled).abs().max() <= 1e-5
    assert (row[:, POOLED : POOLED + 6] == torch.tensor(SIZES)).all()
    assert not row[:, POOLED + 6 :].any()


def official(pipeline: StableDiffusionXLPipeline) -> dict[str, Tensor]:
    """The two encoders under the names, and in the shapes, of sd_xl_base_1.0.safetensors."""
    first = {name.removeprefix("text_model."): t for name, t in pipeline.text_encoder.state_dict().items()}
    weights = {f"conditioner.embedders.0.transformer.text_model.{name}": t for name, t in first.items()}
    weights["conditioner.embedders.0.transformer.text_model.embeddings.position_ids"] = torch.arange(LENGTH)[None]
    second = {name.removeprefix("text_model."): t for name, t in pipeline.text_encoder_2.state_dict().items()}
    words = {
        "embeddings.token_embedding.weight": "token_embedding.weight", "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm.weight": "ln_final.weight", "final_layer_norm.bias": "ln_final.bias",
    }  # fmt: skip
    inside = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj"}  # fmt: skip
    theirs = {words[name]: tensor for name, tensor in second.items() if name in words}
    theirs["text_projection"], theirs["logit_scale"] = (
        second["text_projection.weight"].T.contiguous(),
        torch.tensor(4.6),
    )
    for i in range(3):
        layer, block = f"encoder.layers.{i}.", f"transformer.resblocks.{i}."
        for kind in ("weight", "bias"):
            theirs |= {f"{block}{their}.{kind}": second[f"{layer}{our}.{kind}"] for our, their in inside.items()}
            packed = torch.cat([second[f"{layer}self_attn.{letter}_proj.{kind}"] for letter in "qkv"])
            theirs[f"{block}attn.in_proj_{kind}"] = packed
    assert len(theirs) == len(second) - 3 * 4 + 1  # three of the layers' names are one there, and a scale
    weights |= {f"conditioner.embedders.1.model.{name}": tensor for name, tensor in theirs.items()}
    return {**weights, "model.diffusion_model.out.2.bias": torch.zeros(4), "first_stage_model.x": torch.zeros(1)}


def test_an_official_file_has_the_same_encoders(pipeline: StableDiffusionXLPipeline, tmp_path: Path) -> None:
    """max-abs 1e-5, with two tokenizers and one file. Catches: queries, keys and values in another order, a projection not
    transposed, and an embedder read as the other."""
    for name in ("tokenizer", "tokenizer_2"):
        getattr(pipeline, name).save_pretrained(tmp_path / name)
    file = tmp_path / "sd_xl_base_1.0.safetensors"
    save_file(official(pipeline), file)
    cond = built(tmp_path, weights=str(file)).of_prompts(TEXTS, CIFAR10)
    assert (cond - built(pipeline.folder).of_prompts(TEXTS, CIFAR10)).abs().max() <= 1e-5
    weights = {name: tensor for name, tensor in official(pipeline).items() if "embedders.1" not in name}
    save_file(weights, file)
    with pytest.raises(InputError, match=r"sd_xl_base_1.0.safetensors has no tensor conditioner.embedders.1.model"):
        built(tmp_path, weights=str(file)).of_prompts(TEXTS, CIFAR10)


def test_images_get_their_captions_and_guidance_zeros(pipeline: StableDiffusionXLPipeline) -> None:
    """To rounding. Catches: a caption under another image's number, and the empty text encoded for the null, or one without sizes."""
    condition = built(pipeline.folder, sizes=[512, 768, 3, 4, 1024, 1024])
    images = torch.tensor([7, 17, 7])
    cond = condition.of(images % 10, images, CIFAR10)
    assert torch.equal(cond[0], cond[2])
    assert not torch.equal(cond[0], cond[1])
    texts = [CIFAR10.captions[7 * len(CIFAR10.captions) // 10 + i] for i in (0, 1)]
    torch.testing.assert_close(cond[:2], condition.of_prompts(texts, CIFAR10), rtol=1e-5, atol=1e-5)  # in other batches
    null = condition.null(CIFAR10)
    assert null.shape == cond.shape[1:]
    assert torch.equal(null[0, POOLED : POOLED + 6], cond[0, 0, POOLED : POOLED + 6])
    assert int((null != 0).sum()) == 6


def test_a_plan_needs_no_files_and_a_key_holds_their_content(
    pipeline: StableDiffusionXLPipeline, tmp_path: Path
) -> None:
    """Catches: gigabytes that must be there before a sweep is planned, a path in a key, and an encoder that is not in it."""
    part = {
        "name": "sdxl-text",
        "options": {"model": str(tmp_path / "none"), "weights": "", "sizes": SIZES, "dropout": 0.1},
    }
    absent = built(tmp_path / "none")
    assert absent.null(CIFAR10).shape == (78, 2048)
    assert absent.identity(part, CIFAR10)["encoder"] == "not here"
    with pytest.raises(InputError, match=r"condition 'sdxl-text': model '.*none' is no folder, was not fetched"):
        absent.of_prompts(["a ship"], CIFAR10)
    found = built(pipeline.folder).identity(part, CIFAR10)
    assert len(set(found["encoder"])) == 2
    assert str(pipeline.folder) not in str(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": [1024, 1024]}, r"sizes = \[1024, 1024\] are 2 numbers, not 6"),
        ({"weights": "nowhere.safetensors"}, "weights = 'nowhere.safetensors': there is no such file"),
    ],
)
def test_options_that_do_not_fit_are_refused(pipeline: StableDiffusionXLPipeline, options: dict[str, object], message: str) -> None:  # fmt: skip
    with pytest.raises(InputError, match=message):
        built(pipeline.folder, **options)


def test_a_folder_without_the_second_encoder_is_refused(pipeline: StableDiffusionXLPipeline, tmp_path: Path) -> None:
    """Catches: the first encoder taken for both."""
    for name in ("text_encoder", "tokenizer", "tokenizer_2"):
        getattr(pipeline, name).save_pretrained(tmp_path / name)
    with pytest.raises(InputError, match=r"text_encoder_2 has no model.safetensors.*text_encoder_2/config.json, text_encoder_2/model"):  # fmt: skip
        built(tmp_path).of_prompts(["a ship"], CIFAR10)
