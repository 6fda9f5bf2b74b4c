"""First stages: published parameter counts, parity with diffusers, and the arithmetic that parity cannot show."""

import math
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import VectorQuantizer
from torch import Tensor, nn

from oracles.diffusers_peers import peer_autoencoder
from replication.check.models import randomize
from replication.ldm.autoencoder import Autoencoder
from replication.ldm.autoencoder_networks import Levels
from replication.ldm.first_stages import KLAutoencoder, VQAutoencoder
from replication.ldm.published_weights import first_stage_from_diffusers, first_stage_from_official
from replication.registry import AUTOENCODERS
from replication.types import InputError, RunError

SMALL: dict[str, Any] = {"width": 8, "blocks": 1, "groups": 4}
NARROW = {
    "f4": Levels(8, (1, 2, 4), 2, 4, ()),
    "f8": Levels(8, (1, 2, 4, 4), 1, 4, ()),
    "f8, attention": Levels(8, (1, 2, 2, 4), 2, 4, (8,)),
    "f16, attention at two levels": Levels(8, (1, 1, 2, 2, 4), 1, 2, (8, 16)),
}
# factor, latent channels, width of the deepest level; the paper's table 8 and the published configurations
PUBLISHED = {
    "identity": (1, 3), "kl-f2": (2, 2), "kl-f4": (4, 3), "kl-f8": (8, 4), "kl-f16": (16, 16), "kl-f32": (32, 64),
    "kl-f8-c16": (8, 16), "vq-f2": (2, 2), "vq-f4": (4, 3), "vq-f8": (8, 4), "vq-f16": (16, 8), "vq-f32": (32, 16),
}  # fmt: skip
EXPRESSIBLE = {  # multipliers, latent channels, factors with attention, codes
    "kl-f4": ((1, 2, 4), 3, (), 0),
    "kl-f8": ((1, 2, 4, 4), 4, (), 0),
    "kl-f16": ((1, 1, 2, 2, 4), 16, (16,), 0),
    "kl-f32": ((1, 1, 2, 2, 4, 4), 64, (16, 32), 0),
    "vq-f4": ((1, 2, 4), 3, (), 8192),
    "vq-f8": ((1, 2, 2, 4), 4, (8,), 16_384),
    "vq-f16": ((1, 1, 2, 2, 4), 8, (16,), 16_384),
}


def images(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small(name: str, **options: Any) -> Any:
    """The named first stage, narrow, with every weight random."""
    torch.manual_seed(0)
    made = AUTOENCODERS.build(name, **SMALL, **options)
    randomize(made, seed=1)
    return made.eval()


@pytest.mark.parametrize(("name", "count"), [("kl-f8", 83_653_863), ("vq-f4", 55_322_782)])
def test_published_parameter_counts(name: str, count: int) -> None:
    """Exact. Catches a decoder without its extra block, a middle without attention, quant_conv left out."""
    with torch.device("meta"):
        network = AUTOENCODERS.build(name)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_the_presets_have_the_tensors_of_the_published_configurations(name: str) -> None:
    """Exact, tensor by tensor. Catches attention at another level, multipliers that drift, a codebook of another size."""
    multipliers, channels, attention, codes = EXPRESSIBLE[name]
    with torch.device("meta"):
        preset = AUTOENCODERS.build(name)
        peer = peer_autoencoder(Levels(128, multipliers, 2, 32, attention), 3, channels, codes)
    converted = first_stage_from_diffusers(peer.state_dict(), preset)
    assert {n: t.shape for n, t in converted.items()} == {n: t.shape for n, t in preset.state_dict().items()}
    assert {m.num_groups for m in preset.modules() if isinstance(m, nn.GroupNorm)} == {32}


@pytest.mark.parametrize(("scaling", "scale", "shift"), [("sd3", 1.5305, 0.0609), ("flux", 0.3611, 0.1159)])
def test_the_first_stages_of_sd3_and_flux_are_those_of_diffusers(scaling: str, scale: float, shift: float) -> None:
    """max-abs 1e-5, under the pipelines' arithmetic of scale and shift. Catches: projections that are not there, a shift that
    is scaled or left out, and latents of 4 channels."""
    peer = AutoencoderKL(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1, latent_channels=16, norm_num_groups=4, use_quant_conv=False, use_post_quant_conv=False,
        scaling_factor=scale, shift_factor=shift,
    ).eval()  # fmt: skip
    randomize(peer, seed=1)
    ours = KLAutoencoder(3, Levels(8, (1, 2), 1, 4, ()), 16, scaling, projections=False).eval()
    ours.load_state_dict(first_stage_from_diffusers(peer.state_dict(), ours), strict=False)
    x = images(2, 3, 16, 16).clamp(-1, 1)
    with torch.no_grad():
        z = (peer.encode(x).latent_dist.mode() - shift) * scale
        assert (ours.encode(x) - z).abs().max() <= 1e-5
        assert (ours.decode(z) - peer.decode(z / scale + shift).sample).abs().max() <= 1e-5
    with torch.device("meta"):
        whole = AUTOENCODERS.build("kl-f8-c16")
        theirs = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=16, use_quant_conv=False,
            use_post_quant_conv=False,
        )  # fmt: skip
    assert sum(p.numel() for p in whole.parameters()) == sum(p.numel() for p in theirs.parameters()) == 83_819_683


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_factor_and_shape(name: str) -> None:
    """Exact. Catches a level too many, KL moments that are not twice the latents, and a shape rule apart from the network."""
    f, channels = PUBLISHED[name]
    with torch.device("meta"):
        made = AUTOENCODERS.build(name)
        x = torch.empty(2, 3, 64, 32)
        moments = made.moments(x)
        z = made.encode(x, torch.empty(2, channels, 64 // f, 32 // f))
        decoded = made.decode(z)
    assert isinstance(made, Autoencoder)
    assert (made.f, made.latent_channels, made.image_channels, made.version) == (f, channels, 3, 1)
    assert moments.shape[1] == channels * (2 if name.startswith("kl") else 1)
    assert z.shape[1:] == made.latent_shape((3, 64, 32)) == (channels, 64 // f, 32 // f)
    assert decoded.shape == x.shape


@pytest.mark.parametrize("codes", [0, 40], ids=["kl", "vq"])
@pytest.mark.parametrize("name", NARROW)
def test_agrees_with_diffusers_with_its_weights(name: str, codes: int) -> None:
    """max-abs <= 1e-6 in float64 (diffusers takes the softmax in float32), all weights random; moments, latents with the same noise, and images.

    Catches: GroupNorm eps 1e-5, padding (1,1,1,1), attention before its block, levels of the decoder in encoder order,
    variance for log-variance, a quantiser that is skipped in `decode`.
    """
    levels, channels = NARROW[name], 3
    peer = peer_autoencoder(levels, 3, channels, codes).eval().double()
    randomize(peer, seed=1)
    ours = VQAutoencoder(3, levels, channels, codes) if codes else KLAutoencoder(3, levels, channels)
    ours.load_state_dict(first_stage_from_diffusers(peer.state_dict(), ours))
    ours.eval().double()
    x = images(2, 3, 32, 32).double()
    noise = images(2, channels, 32 // levels.factor, 32 // levels.factor, seed=3).double()
    with torch.no_grad():
        moments, encoded = ours.moments(x), peer.encode(x)
        theirs = encoded.latents if codes else encoded.latent_dist.parameters
        z = theirs if codes else encoded.latent_dist.mean + encoded.latent_dist.std * noise
        decoded = peer.decode(z).sample
        assert (moments - theirs).abs().max() <= 1e-6
        assert (ours.encode(x, noise) - z).abs().max() <= 1e-6
        assert (ours.decode(z) - decoded).abs().max() <= 1e-6
    assert theirs.std() > 0.1
    assert decoded.std() > 0.1


def compvis(levels: Levels, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict as the original checkpoints spell it."""
    renamed, last = {}, len(levels.multipliers) - 1
    for name, tensor in weights.items():
        parts = name.split(".")
        if parts[1] in ("down", "up"):
            level = parts[2] if parts[1] == "down" else str(last - int(parts[2]))
            parts[2:4] = [level, {"blocks": "block", "attentions": "attn"}[parts[3]]]
        elif parts[1] in ("downsample", "upsample"):
            level = parts[2] if parts[1] == "downsample" else str(last - int(parts[2]))
            parts[1:3] = [parts[1].removesuffix("sample"), level, parts[1], "conv"]
        spelt = ".".join(parts)
        for a, b in {"middle1": "mid.block_1", "middle2": "mid.block_2", "middle_attention": "mid.attn_1",
                     "shortcut": "nin_shortcut", "codebook": "quantize.embedding"}.items():  # fmt: skip
            spelt = spelt.replace(a, b)
        if "attn" in spelt and "norm" not in spelt:
            spelt = spelt.replace(".out.", ".proj_out.")
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        renamed[spelt] = tensor
    return renamed


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
@pytest.mark.parametrize("name", NARROW)
def test_original_checkpoints_are_read(name: str, prefix: str) -> None:
    """Exact. Catches levels of the decoder in the wrong order, 1x1 convolutions refused, another model's tensors taken."""
    levels = NARROW[name]
    torch.manual_seed(0)
    network = VQAutoencoder(3, levels, 3, 40)
    ours = network.state_dict()
    original = {prefix + k: v for k, v in compvis(levels, ours).items()}
    assert f"{prefix}encoder.down.0.block.0.norm1.weight" in original
    assert (
        original[f"{prefix}decoder.up.0.block.0.conv1.weight"].shape[0] == levels.width
    )  # the finest level is number 0
    original |= {"loss.discriminator.main.0.weight": torch.zeros(1)}
    original |= {"model.diffusion_model.out.0.weight": torch.zeros(1)} if prefix else {}
    converted = first_stage_from_official(original, network)
    assert converted.keys() == ours.keys()
    assert all(torch.equal(converted[k], t) for k, t in ours.items())


ODD = {
    "a missing tensor": ("decoder.mid_block.attentions.0.to_q.weight", None, "decoder.middle_attention.q.weight"),
    "a tensor of another network": ("class_embedding.weight", (4, 4), "class_embedding.weight"),
    "another shape": ("decoder.conv_out.weight", (3, 8, 1, 1), r"decoder.conv_out.weight.*\(3, 8, 1, 1\)"),
    "nothing to start from": ("encoder.conv_in.weight", None, "encoder.conv_in.weight"),
    "no levels": ("encoder.down_blocks.0.resnets.0.conv1.weight", None, "encoder.down.0.blocks.0.conv1.weight"),
}


@pytest.mark.parametrize("what", ODD)
def test_weights_that_are_not_all_of_one_autoencoder_are_refused_by_name(what: str) -> None:
    """Catches a conversion that drops a tensor or leaves part of the network at its initial values."""
    weights, (name, shape, named) = peer_autoencoder(NARROW["f4"], 3, 3).state_dict(), ODD[what]
    weights.pop(name, None)
    if shape is not None:
        weights[name] = torch.zeros(shape)
    with pytest.raises(InputError, match=named):
        first_stage_from_diffusers(weights, KLAutoencoder(3, NARROW["f4"], 3))


def test_the_same_tensor_in_two_spellings_is_refused() -> None:
    """Catches one of the two silently winning."""
    weights = peer_autoencoder(NARROW["f4"], 3, 3).state_dict()
    weights["decoder.mid_block.attentions.0.query.weight"] = weights["decoder.mid_block.attentions.0.to_q.weight"]
    with pytest.raises(InputError, match=r"to_q\.weight.*query\.weight.*same tensor"):
        first_stage_from_diffusers(weights, KLAutoencoder(3, NARROW["f4"], 3))


def test_the_log_variance_is_clamped_and_the_penalty_is_the_divergence() -> None:
    """max-abs 1e-5 relative to a closed form. Catches a clamp at other bounds, a mean over the latents instead of a sum
    divided by the image's values, and a penalty on the sampled latents."""
    made = small("kl-f2")
    with torch.no_grad():
        made.quant_conv.weight.zero_()
        made.quant_conv.bias.copy_(torch.tensor([1.0, -2.0, 50.0, -50.0]))  # means, log-variances of two channels
    x = images(3, 3, 8, 8)
    moments = made.moments(x)
    assert moments[0, :, 0, 0].tolist() == [1.0, -2.0, 20.0, -30.0]
    each = 0.5 * ((1 + math.exp(20) - 1 - 20) + (4 + math.exp(-30) - 1 + 30))
    expected = 16 * each / (3 * 64)
    answer = made.reconstruct(x, images(3, 2, 4, 4))
    assert (answer.penalty / expected - 1).abs().max() <= 1e-5
    assert answer.penalty.shape == (3,)
    assert answer.codes is None


@pytest.mark.parametrize("beta_weighs", ["commitment", "codebook"])
def test_the_codebooks_loss_is_diffusers(beta_weighs: str) -> None:
    """max-abs 1e-6 of the loss and of its gradients. Catches 0.25 on the wrong term, and a gradient that stops or leaks.

    diffusers calls the official code's weighting `legacy`.
    """
    made = small("vq-f2", codebook=16, beta_weighs=beta_weighs)
    peer = VectorQuantizer(16, 2, beta=0.25, legacy=beta_weighs == "codebook")
    peer.embedding.weight.data.copy_(made.codebook.weight.data)
    x = images(2, 3, 8, 8)
    z = made.moments(x).detach()
    z_peer, z_ours = (z.clone().requires_grad_() for _ in range(2))
    quantised, loss, (_, _, indices) = peer(z_peer)
    (loss + quantised.square().mean()).backward()
    made.moments = lambda _: z_ours
    seen: list[Tensor] = []
    made.post_quant_conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    answer = made.reconstruct(x)
    (answer.penalty.mean() + seen[0].square().mean()).backward()
    assert (answer.penalty.mean() - loss).abs() <= 1e-6
    assert torch.equal(answer.codes.flatten(), indices)
    assert answer.codes.shape == (2, 4, 4)
    assert (z_ours.grad - z_peer.grad).abs().max() <= 1e-6
    assert (made.codebook.weight.grad - peer.embedding.weight.grad).abs().max() <= 1e-6


def test_a_codebook_is_searched_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact. Catches pieces put together in another order than the positions'."""
    made, z = small("vq-f2", codebook=16), images(3, 2, 5, 7)
    whole = made.codes(z)
    monkeypatch.setattr("replication.ldm.first_stages.CHUNK", 4)
    assert torch.equal(made.codes(z), whole)
    nearest = torch.cdist(z.permute(0, 2, 3, 1).reshape(-1, 2), made.codebook.weight).argmin(1).reshape(3, 5, 7)
    assert torch.equal(whole, nearest)


@pytest.mark.parametrize("name", ["kl-f2", "vq-f2"])
def test_scaling_is_applied_by_latent_and_taken_off_by_decode(name: str) -> None:
    """max-abs 1e-5. Catches a scale that is applied twice, never, or only one way."""
    plain, scaled, measured = (small(name, scaling=s) for s in ("none", "sd-v1", "std"))
    x, noise = images(4, 3, 8, 8), images(4, 2, 4, 4, seed=4)
    z = plain.encode(x, noise)
    assert (scaled.encode(x, noise) - 0.18215 * z).abs().max() <= 1e-5
    assert (scaled.decode(0.18215 * z) - plain.decode(z)).abs().max() <= 1e-5
    for use in (lambda: measured.encode(x), lambda: measured.decode(z)):
        with pytest.raises(InputError, match="was not measured yet"):
            use()
    measured.fit_scale(measured.moments(x), noise)
    assert (measured.encode(x, noise).std() - 1).abs() <= 1e-5
    assert (measured.decode(measured.encode(x, noise)) - plain.decode(z)).abs().max() <= 1e-5
    with pytest.raises(InputError, match="'sd-v1' fixes the scale"):
        scaled.fit_scale(scaled.moments(x))
    with pytest.raises(RunError, match="no finite spread"):
        measured.fit_scale(measured.moments(x) * torch.nan)


def test_a_measured_scale_travels_with_the_weights() -> None:
    """Exact. Catches a scale that is no buffer, and one that is looked at once and never again."""
    first, second = small("kl-f2", scaling="std"), small("kl-f2", scaling="std")
    x = images(4, 3, 8, 8)
    with pytest.raises(InputError, match="not measured"):
        second.encode(x)
    first.fit_scale(first.moments(x))
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.encode(x), first.encode(x))
    assert "scale" not in small("kl-f2").state_dict()


def test_default_scalings_are_the_published_ones() -> None:
    """Exact: 0.18215 is the text-to-image model's kl-f8; the official default, and every published VQ's, is 1."""
    with torch.device("meta"):
        scalings = {name: AUTOENCODERS.build(name).scaling for name in PUBLISHED}
    assert {name: scaling for name, scaling in scalings.items() if scaling != "none"} == {
        "kl-f8": "sd-v1",
        "kl-f8-c16": "sd3",
    }
    assert scalings["kl-f8"] == "sd-v1"


def test_images_that_do_not_fit_are_refused_by_name() -> None:
    made = small("kl-f8", multipliers=[1, 1, 1, 1])
    assert made.latent_shape((3, 64, 24)) == (4, 8, 3)
    with pytest.raises(InputError, match=r"f = 8 does not divide the width of 20 pixels"):
        made.latent_shape((3, 64, 20))
    with pytest.raises(InputError, match="3 channels, not 1"):
        made.latent_shape((1, 64, 64))
    with pytest.raises(InputError, match=r"'kl-f8': multipliers = \[1, 2\] are 2 levels; f = 8 has 4"):
        AUTOENCODERS.build("kl-f8", multipliers=[1, 2])
    with pytest.raises(InputError, match="option 'codebok'; did you mean 'codebook'"):
        AUTOENCODERS.build("vq-f4", codebok=3)


def test_identity_returns_what_it_is_given() -> None:
    """Exact. Catches a scale or a clamp in pixel diffusion."""
    made, x = AUTOENCODERS.build("identity", image_channels=1), 3 * images(2, 1, 8, 8)
    assert made.encode(x, torch.ones_like(x)) is x
    assert made.decode(x) is x
    assert made.latent_shape((1, 8, 8)) == (1, 8, 8)
    assert not list(made.parameters())
    answer = made.reconstruct(x)
    assert answer.x is x
    assert answer.penalty.tolist() == [0, 0]
