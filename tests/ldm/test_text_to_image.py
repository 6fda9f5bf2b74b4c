"""LDM's text-to-image model: the U-Net and the transformer of its texts, in the official file's layout and in diffusers'."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel
from ldm.test_published_weights import OPTIONS, official
from torch import Tensor

from oracles.diffusers_peers import peer_text_unet
from replication.check.models import randomize
from replication.layers.unet import UNet
from replication.layers.weight_files import read_weights, weight_files, with_folder
from replication.ldm.published_weights import from_diffusers, from_official
from replication.registry import MODELS
from replication.training.diffusers_options import check_stated
from replication.types import InputError

TEXT = {"vocabulary": 30, "length": 7, "context": 12, "text_layers": 3, "text_heads": 2, "text_head_channels": 4}
UNET = {**OPTIONS, "multipliers": (1, 2), "attention": (1, 2), "channels": 4}
# what diffusers' words are in the official file, whose layers are attention and feed-forward in turn, each with its norm
WORDS = {
    "self_attn_layer_norm": (0, "0"), "self_attn.q_proj": (0, "1.to_q"), "self_attn.k_proj": (0, "1.to_k"),
    "self_attn.v_proj": (0, "1.to_v"), "self_attn.out_proj": (0, "1.to_out"), "final_layer_norm": (1, "0"),
    "fc1": (1, "1.net.0.0"), "fc2": (1, "1.net.2"),
}  # fmt: skip
OTHERS = {"embed_tokens": "token_emb", "embed_positions": "pos_emb.emb", "layer_norm": "norm"}


def peers(length: int = 7) -> tuple[UNet2DConditionModel, LDMBertModel]:
    unet = peer_text_unet(heads=2, context=12, **UNET).eval()
    config = LDMBertConfig(
        vocab_size=30, max_position_embeddings=length, encoder_layers=3, encoder_ffn_dim=48, encoder_attention_heads=2, head_dim=4,
        d_model=12,
    )  # fmt: skip
    text = LDMBertModel(config).eval()
    for seed, network in enumerate((unet, text)):
        randomize(network, seed)
    return unet, text


def ours() -> UNet:
    built: UNet = MODELS.build("ldm-unet", heads=2, **{**UNET, "multipliers": [1, 2], "attention": [1, 2]}, **TEXT)
    return built.eval()


def official_text(text: LDMBertModel) -> dict[str, Tensor]:
    """Under the names of the official file, those of x-transformers."""
    found = {}
    for name, tensor in text.state_dict().items():
        rest, kind = name.removeprefix("model.").rsplit(".", 1)
        if rest.startswith("layers."):
            _, i, word = rest.split(".", 2)
            odd, theirs = WORDS[word]
            rest = f"attn_layers.layers.{2 * int(i) + odd}.{theirs}"
        found[f"cond_stage_model.transformer.{OTHERS.get(rest, rest)}.{kind}"] = tensor
    return found


def in_diffusers(unet: UNet2DConditionModel, text: LDMBertModel) -> dict[str, Tensor]:
    return {**unet.state_dict(), **text.state_dict()}


def in_one_file(unet: UNet2DConditionModel, text: LDMBertModel) -> dict[str, Tensor]:
    """As the official checkpoint has it, its first stage and its counters included."""
    network = ours()
    network.load_state_dict(from_diffusers(in_diffusers(unet, text), network))
    own = official_unet(
        {n: t for n, t in network.state_dict().items() if not n.startswith("context_encoder.")}, network
    )
    return {
        **own,
        **official_text(text),
        "first_stage_model.decoder.conv_in.weight": torch.zeros(1),
        "betas": torch.zeros(3),
    }


def official_unet(weights: dict[str, Tensor], network: UNet) -> dict[str, Tensor]:
    """The other file's naming of the U-Net alone."""
    plain = MODELS.build("ldm-unet", heads=2, **{**UNET, "multipliers": [1, 2], "attention": [1, 2], "context": 12})
    plain.load_state_dict(weights)
    return official(plain)


@pytest.mark.parametrize("layout", ["official", "diffusers"])
def test_it_answers_as_diffusers_does(layout: str) -> None:
    """max-abs <= 1e-5 in float32, all weights random: the texts' transformer, and the U-Net that reads it. Catches heads that share
    the width, attention under the feed-forward's number, positions or a norm left out, and padding that is masked."""
    unet, text = peers()
    network = ours()
    weights = in_one_file(unet, text) if layout == "official" else in_diffusers(unet, text)
    converted = (from_official if layout == "official" else from_diffusers)(weights, network)
    assert converted.keys() == network.state_dict().keys()
    network.load_state_dict(converted)
    tokens = torch.tensor([[2, 9, 29, 4, 3, 0, 0], [2, 3, 0, 0, 0, 0, 0]])
    x, timestep = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3)), torch.tensor([7.0, 801.0])
    with torch.no_grad():
        context = text(tokens).last_hidden_state
        assert (network.encode(tokens) - context).abs().max() <= 1e-5
        assert (
            network(x, timestep, tokens) - unet(x, timestep, encoder_hidden_states=context).sample
        ).abs().max() <= 1e-5


@pytest.mark.parametrize("layout", ["official", "diffusers"])
def test_every_tensor_counts(layout: str) -> None:
    """A tensor of the transformer that is missing, unknown or of another shape is refused by name; of the logits none is read.

    Catches: a converter that passes over what it has no pattern for.
    """
    unet, text = peers()
    network = ours()
    weights = in_one_file(unet, text) if layout == "official" else in_diffusers(unet, text)
    convert = from_official if layout == "official" else from_diffusers
    begins = "cond_stage_model.transformer." if layout == "official" else "model."
    assert len([name for name in weights if "to_logits" in name]) == 2
    of_text = [name for name in weights if name.startswith(begins) and "logits" not in name]
    assert len(of_text) == len(network.context_encoder.state_dict())
    for name in of_text:
        with pytest.raises(InputError, match="nothing there for 'context_encoder"):
            convert({n: t for n, t in weights.items() if n != name}, network)
        with pytest.raises(InputError, match="has shape"):
            convert({**weights, name: weights[name][:1, ...]}, network)
    with pytest.raises(InputError, match="has no place in our network"):
        convert({**weights, f"{begins}layers.9.weight": torch.zeros(2)}, network)


def test_published_sizes() -> None:
    """Exact. 1.45 billion parameters are printed (Rombach et al. 2022, Tables 2 and 15), the layer of logits among them.

    Catches: another width, depth or number of heads.
    """
    with torch.device("meta"):
        network = MODELS.build("ldm-text-8")
        peer = LDMBertModel(LDMBertConfig())
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in (("all", network), ("bert", peer))}
    of_text, logits = sum(p.numel() for p in network.context_encoder.parameters()), 1281 * 30522
    assert of_text + logits == count["bert"]
    assert count["all"] - of_text == 872_300_484
    assert count["all"] + logits == 1_454_294_526
    assert from_diffusers({**peer.state_dict(), **unet_on_meta()}, network).keys() == network.state_dict().keys()


def unet_on_meta() -> dict[str, Tensor]:
    with torch.device("meta"):
        widths, down = (320, 640, 1280, 1280), ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
        unet = UNet2DConditionModel(
            in_channels=4, out_channels=4, block_out_channels=widths, cross_attention_dim=1280, down_block_types=down,
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, attention_head_dim=8,
        )  # fmt: skip
    return unet.state_dict()


def test_the_transformer_lies_beside_the_unet(tmp_path: Path) -> None:
    """Both folders are one file of weights, in shards too, whose SHA-256 changes with either; another number of heads is refused.

    Catches: half of the weights in the SHA-256, and a config.json that nobody reads because it is transformers'.
    """
    unet, text = peers()
    unet.save_pretrained(tmp_path / "unet", max_shard_size="20KB")
    text.save_pretrained(tmp_path / "bert")
    alone = weight_files(tmp_path / "unet")
    found = with_folder(alone, "bert")
    assert len(alone.files) > 1
    assert found.beside == tmp_path / "bert"
    read = read_weights(found)
    assert read.keys() == in_diffusers(unet, text).keys()
    before, stated = found.sha256(), ours().context_encoder.stated
    check_stated(found.beside / "config.json", stated)
    config = json.loads((tmp_path / "bert" / "config.json").read_text())
    for key, value in {"encoder_attention_heads": 4, "activation_function": "relu", "scale_embedding": True}.items():
        (tmp_path / "bert" / "config.json").write_text(json.dumps({**config, key: value}))
        with pytest.raises(InputError, match=rf"bert/config.json: .*{key} = {json.dumps(value)}, the recipe has"):
            check_stated(found.beside / "config.json", stated)
    randomize(text, 9)
    text.save_pretrained(tmp_path / "bert")
    assert with_folder(alone, "bert").sha256() != before
    assert with_folder(alone, "").files == with_folder(alone, "absent").files == alone.files
    with pytest.raises(InputError, match=r"no text transformer, which is looked for in \.\./bert"):
        from_diffusers(read_weights(alone), ours())
