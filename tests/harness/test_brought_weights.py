"""Weights as people really have them: shards, variants, pickles, and options beside them that no tensor shows."""

import json
import pickle
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel
from harness.tiny import write_tiny
from harness.tiny_latent import write_tiny_latent
from safetensors.torch import load_file, save_file
from torch import Tensor

from replication.check.models import randomize
from replication.checkpoint import load_checkpoint
from replication.cli import main
from replication.harness.given_weights import under_its_names
from replication.layers.weight_files import NAME, read_weights, weight_files
from replication.layers.weights import Options
from replication.registry import AUTOENCODERS, MODELS
from replication.settings import Part
from replication.training.diffusers_options import CONFIG, SCHEDULER, check_options
from replication.types import InputError

STEM = NAME.removesuffix(".safetensors")
TINY: dict[str, Any] = {  # the shapes of ddpm-digits; what is left out are diffusers' defaults
    "sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": (32, 32),
    "norm_num_groups": 8, "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip
OURS = {
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "downsample_padding": 0,
    "attention_head_dim": None,
}
LINEAR = {"_class_name": "DDPMScheduler", "beta_schedule": "linear", "num_train_timesteps": 20, "beta_end": 0.3}


def peer(**options: object) -> UNet2DModel:
    network = UNet2DModel(**{**TINY, **OURS, **options}).eval()
    randomize(network, seed=1)
    return network


def saved(folder: Path, scheduler: Mapping[str, object] | None = None, **options: object) -> Path:
    peer(**options).save_pretrained(folder)
    if scheduler is not None:
        (folder / SCHEDULER).write_text(json.dumps(scheduler))
    return folder


def add(path: Path, *more: str) -> int:
    return main(["weights", "add", "tiny", "--profile", "cpu", "--row", "DDIM", "--network", str(path), *more])


@pytest.fixture
def tiny(project: Path) -> Path:
    write_tiny(project)
    return project


# ---------------------------------------------------------------- what is taken


def test_the_recipe_s_own_options_are_taken(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The network given answers what diffusers' object does, max-abs <= 1e-5. Catches: a comparison that refuses its own."""
    folder = saved(tiny / "pipe" / "unet")
    (tiny / "pipe" / "scheduler").mkdir()
    (tiny / "pipe" / "scheduler" / SCHEDULER).write_text(json.dumps(LINEAR))
    assert add(folder) == 0
    assert "could be checked" not in capsys.readouterr().out
    (checkpoint,) = (tiny / "runs" / "checkpoints").glob("*.safetensors")
    network = MODELS.build("ddpm-digits").eval()
    tensors = load_checkpoint(checkpoint)[0]
    network.load_state_dict({name.removeprefix("ema."): t for name, t in tensors.items() if name.startswith("ema.")})
    x, t = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3, 10, 19])
    with torch.no_grad():
        assert (network(x, t.float(), None) - peer()(x, t).sample).abs().max() <= 1e-5


def test_what_could_not_be_checked_is_said(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without configurations, in half precision, with a prefix. Catches: a silence that reads as consent."""
    weights = {f"module.{name}": tensor.half() for name, tensor in peer().state_dict().items()}
    save_file(weights, tiny / "w.safetensors")
    assert add(tiny / "w.safetensors") == 0
    out = capsys.readouterr().out
    assert "'module.' was taken off the name of every tensor" in out
    assert "weights in float16 are kept as float32" in out
    assert f"no {CONFIG} and no {SCHEDULER} beside the weights speaks of them" in out


def shards(folder: Path, tensors: Mapping[str, Tensor], stem: str = STEM, index: str = f"{NAME}.index.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(tensors)
    files = [f"{stem}-{i:05}-of-00002.safetensors" for i in (1, 2)]
    for i, file in enumerate(files):
        save_file({name: tensors[name] for name in names[i::2]}, folder / file)
    table = {name: files[i % 2] for i, name in enumerate(names)}
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return folder


def test_shards_and_variants_hold_the_same_tensors(tmp_path: Path) -> None:
    """Exact. Catches: one shard for the whole, and a layout of diffusers that is not found."""
    tensors = {name: tensor.contiguous() for name, tensor in peer().state_dict().items()}
    saved(tmp_path / "whole")
    saved(tmp_path / "big").joinpath(NAME).unlink()
    peer().save_pretrained(tmp_path / "big", max_shard_size="300KB")
    peer().save_pretrained(tmp_path / "variant", variant="fp16")
    peer().save_pretrained(tmp_path / "variants", variant="fp16", max_shard_size="300KB")
    shards(tmp_path / "old", tensors, index=f"{STEM}.fp16.safetensors.index.json")
    (tmp_path / "only").mkdir()
    save_file(tensors, tmp_path / "only" / "model.safetensors")
    (tmp_path / "big" / NAME).unlink(missing_ok=True)
    for name in ("whole", "big", "variant", "variants", "old", "only"):
        found = weight_files(tmp_path / name)
        read = read_weights(found)
        assert read.keys() == tensors.keys(), name
        assert all(torch.equal(read[key], tensors[key]) for key in tensors), name
    assert len({weight_files(tmp_path / name).sha256() for name in ("whole", "old")}) == 2
    saved(tmp_path / "variant")
    assert weight_files(tmp_path / "variant").left == (f"{STEM}.fp16.safetensors",)


@pytest.mark.parametrize("length", [0x280, 0x480, 0x4D42])
def test_a_header_may_begin_as_another_format_does(tmp_path: Path, length: int) -> None:
    """Catches: weights taken for a pickle or a BMP by the two bytes of their header's length."""
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors", {"note": "x" * (length - 120)})
    content = (tmp_path / "a.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    padded = content[8 : 8 + size].ljust(length)
    (tmp_path / "a.safetensors").write_bytes(length.to_bytes(8, "little") + padded + content[8 + size :])
    assert read_weights(weight_files(tmp_path / "a.safetensors"))["a"].tolist() == [1, 1]


def test_a_network_by_its_folder_may_lie_in_shards(tmp_path: Path) -> None:
    saved(tmp_path / "whole")
    peer().save_pretrained(tmp_path / "shards", max_shard_size="300KB")
    assert not (tmp_path / "shards" / NAME).exists()
    whole, parts = (MODELS.build("diffusers", path=str(tmp_path / name)).state_dict() for name in ("whole", "shards"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    spoilt = load_file(tmp_path / "whole" / NAME)
    spoilt["conv_in.bias"][0] = float("inf")
    save_file(spoilt, tmp_path / "whole" / NAME)
    with pytest.raises(InputError, match=r"tensor 'conv_in.bias' has 1 of 32 values that are not finite"):
        MODELS.build("diffusers", path=str(tmp_path / "whole"))


def test_a_file_without_an_average_is_taken_as_it_is(tmp_path: Path) -> None:
    """Official files of 1.x are also spread as "emaonly". Catches: advice that nobody can follow."""
    part = Part(
        name="ldm-unet",
        options={
            "resolution": 4,
            "channels": 1,
            "width": 8,
            "multipliers": [1],
            "blocks": 1,
            "attention": [],
            "heads": 1,
            "groups": 2,
        },
    )
    network = part.build(MODELS)
    save_file({"model.diffusion_model.time_embed.0.weight": torch.zeros(32, 8)}, tmp_path / "emaonly.safetensors")
    with pytest.raises(InputError, match=r"nothing there for '.*' of our network"):
        under_its_names(MODELS, part, network, weight_files(tmp_path / "emaonly.safetensors"))


# ---------------------------------------------------------------- layouts that are refused


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def half_of_the_shards(folder: Path) -> Path:
    shards(folder, {"a": torch.zeros(1), "b": torch.zeros(1)})
    (folder / f"{STEM}-00002-of-00002.safetensors").unlink()
    return folder


def no_index(folder: Path) -> Path:
    shards(folder, {"a": torch.zeros(1), "b": torch.zeros(1)})
    (folder / f"{NAME}.index.json").unlink()
    return folder


def index_of(table: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        shards(folder, {"a": torch.zeros(1), "b": torch.zeros(1)})
        (folder / f"{NAME}.index.json").write_text(json.dumps(table))
        return folder

    return make


def pickled(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        folder.mkdir()
        torch.save({"a": torch.zeros(1)}, folder / name)
        return folder

    return make


def raw_pickle(file: Path) -> Path:
    """By Python itself, small, of an object."""
    file.write_bytes(pickle.dumps({"a": file}))
    return file


def cut_off(file: Path) -> Path:
    file.write_bytes(file.read_bytes()[:-100])
    return file


def pipeline(folder: Path) -> Path:
    for part in ("unet", "vae"):
        (folder / part).mkdir(parents=True)
        save_file({"a": torch.zeros(1)}, folder / part / NAME)
    return folder


ONE, TWO = (f"{STEM}-0000{i}-of-00002.safetensors" for i in (1, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty, f"holds no {NAME}, and no other file of weights"),
        (lambda p: p, "there is no such file"),
        (half_of_the_shards, f"1 of its 2 shards are missing, the first is {TWO}"),
        (no_index, f"holds 2 of 2 shards and no {NAME}.index.json"),
        (index_of({"weight_map": {"a": ONE}}), f"does not name {TWO}, which is a shard of the same weights"),
        (index_of({"weight_map": {"a": ONE, "b": ONE}}), f"does not name {TWO}"),
        (index_of({"weight_map": {"a": ONE, "b": TWO, "c": TWO}}), "has no tensor 'c', which the index says is here"),
        (index_of({"weight_map": {"b": ONE, "a": TWO}}), "has no tensor 'b', which the index says"),
        (index_of({"weight_map": {"a": "../../secret.safetensors"}}), "'../../secret.safetensors' is no file of weights of"),
        (index_of({"weight_map": {"a": "model.py"}}), "'model.py' is no file of weights of this folder"),
        (index_of({"weight_map": {}}), "weight_map names no tensor"),
        (index_of({"weight_map": [ONE]}), "no index of shards, with a table weight_map"),
        (index_of([]), "no index of shards, with a table weight_map"),
        (pickled(NAME), f"a pickle under the name of safetensors; call it {STEM}.pt"),
        (lambda p: raw_pickle(empty(p) / "a.pt"), r"a\.pt: a pickle of whole objects, which only their own code"),
        (lambda p: cut_off(pickled("a.pt")(p) / "a.pt"), r"a\.pt: not a readable file of weights \(the end of the file is missing\)"),
        (pickled("network-snapshot.pkl"), r"holds network-snapshot\.pkl, a pickle of whole objects"),
        (lambda p: (empty(p) / NAME).write_text("version https://git-lfs") and p, "a pointer of Git LFS in the place of"),
        (pipeline, "is a whole pipeline; name the part that is meant: .*/unet, .*/vae"),
        (lambda p: shards(p, {"a": torch.zeros(1), "b": torch.zeros(1)}) / ONE, "one of 2 shards; give their folder"),
        (lambda p: [save_file({}, empty(p) / "a.safetensors"), save_file({}, p / "b.safetensors"), p][-1], r"\(a.safetensors, b"),
    ],
)  # fmt: skip
def test_layouts_that_are_not_whole_are_refused(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    path = make(tmp_path / "given")
    with pytest.raises(InputError, match=message):
        read_weights(weight_files(path))


def test_numbers_that_no_network_has_are_refused(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches: NaN that shows hours later, and quantised integers taken for weights."""
    weights = {name: tensor.half() for name, tensor in peer().state_dict().items()}
    weights["conv_in.weight"][0, 0, 0, 0] = float("nan")
    weights["conv_in.weight"][0, 0, 0, 1] = float("-inf")
    save_file(weights, tiny / "w.safetensors")
    assert add(tiny / "w.safetensors") == 2
    assert "w.safetensors: tensor 'conv_in.weight' has 2 of 288 values that are not finite" in capsys.readouterr().err
    save_file({**weights, "conv_in.weight": torch.ones(32, 1, 3, 3, dtype=torch.int8)}, tiny / "w.safetensors")
    assert add(tiny / "w.safetensors") == 2
    assert "the weights of 'conv_in.weight' are int8" in capsys.readouterr().err
    assert not (tiny / "runs" / "checkpoints").exists()


def test_a_part_of_our_own_names_is_named_by_what_is_missing(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches: half of a network called a spelling that nobody knows."""
    weights = {name: p.detach() for name, p in MODELS.build("ddpm-digits").named_parameters()}
    for changed, message in (
        (
            {name: t for name, t in weights.items() if name != "conv_out.bias"},
            "nothing there for 'conv_out.bias' of our",
        ),
        ({**weights, "extra": torch.zeros(1)}, "'extra' has no place in our network"),
    ):
        save_file(changed, tiny / "w.safetensors")
        assert add(tiny / "w.safetensors") == 2
        assert message in capsys.readouterr().err


def test_a_checkpoint_of_this_suite_has_its_own_place(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(saved(tiny / "unet")) == 0
    (checkpoint,) = (tiny / "runs" / "checkpoints").glob("*.safetensors")
    (tiny / "brought.safetensors").write_bytes(checkpoint.read_bytes())
    capsys.readouterr()
    assert add(tiny / "brought.safetensors") == 2
    assert f"copy it into checkpoints/ of REPLICATION_HOME, called {checkpoint.name}" in capsys.readouterr().err


# ---------------------------------------------------------------- options that no tensor shows


@pytest.mark.parametrize(
    "other",
    [
        {"flip_sin_to_cos": True}, {"freq_shift": 0}, {"norm_eps": 1e-5}, {"downsample_padding": 1}, {"attention_head_dim": 8},
        {"norm_num_groups": 4}, {"act_fn": "gelu"}, {"mid_block_scale_factor": 2}, {"center_input_sample": True},
        {"class_embed_type": "identity"},
    ],
    ids=str,
)  # fmt: skip
def test_each_option_that_changes_the_function_is_refused(
    tiny: Path, capsys: pytest.CaptureFixture[str], other: dict[str, object]
) -> None:
    """Another function in the same shapes: tensors of the two networks have equal names and sizes. Catches: an option that
    is not looked at."""
    mine, theirs = peer().state_dict(), peer(**other).state_dict()
    assert {name: t.shape for name, t in mine.items()} == {name: t.shape for name, t in theirs.items()}
    assert add(saved(tiny / "unet", LINEAR, **other)) == 2
    (name, value), err = *other.items(), capsys.readouterr().err
    assert f"{CONFIG}: {name} = {json.dumps(value)}" in err
    assert err.count(f"{CONFIG}: ") == 1
    assert 'network = { name = "diffusers"' in err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"prediction_type": "v_prediction"},
            "prediction_type = \"v_prediction\", the recipe's parameterization is 'eps'",
        ),
        ({"prediction_type": "sample"}, 'prediction_type = "sample"'),
        ({"beta_schedule": "squaredcos_cap_v2"}, 'beta_schedule = "squaredcos_cap_v2"'),
        ({"beta_schedule": "scaled_linear"}, 'beta_schedule = "scaled_linear"'),
        ({"beta_schedule": "laplace"}, 'beta_schedule = "laplace"'),
        ({"beta_end": 0.02}, "beta_end = 0.02"),
        ({"num_train_timesteps": 1000}, "num_train_timesteps = 1000"),
        ({"num_train_timesteps": 10**15}, "num_train_timesteps = 1000000000000000"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr = true"),
        ({"trained_betas": [0.1] * 20}, "trained_betas = "),
        ({"beta_end": "high"}, 'beta_end = "high"'),
        (
            {**LINEAR, "_class_name": "EDMEulerScheduler"},
            '_class_name = "EDMEulerScheduler", whose network sees its input scaled',
        ),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler"},
            ".*the recipe's parameterization is 'eps'; .*: _class_name",
        ),
    ],
)
def test_each_option_of_the_training_is_refused(
    tiny: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, object], message: str
) -> None:
    """Catches: a schedule that is compared by its name, and an output read as another one; also of a network by its folder."""
    folder = saved(tiny / "unet", {**LINEAR, **changed})
    assert add(folder) == 2
    err = capsys.readouterr().err
    assert re.search(f"{SCHEDULER}: .*{message}", err)
    assert "or state these in the recipe" in err
    assert "diffusers" not in err  # that network would be refused as well
    path = write_tiny(tiny, ('network = "ddpm-digits"', f'network = {{ name = "diffusers", path = "{folder}" }}'))
    assert main(["plan", str(path)]) == 2
    assert "was trained otherwise than the recipe says" in capsys.readouterr().err


def options_of(registry: Any, name: str, **options: object) -> Options:
    """Of the network, in diffusers' words."""
    network = registry.build(name, **options)
    module = import_module(f"{registry.get(name).__module__.rpartition('.')[0]}.published_weights")
    spelling = next(s for s in module.SPELLINGS if isinstance(network, s.of) and s.name == "diffusers")
    return spelling.options(network)


PUBLISHED = {  # the configurations of published files, as far as they say more than shapes
    "ddpm-cifar10": (MODELS, {"_class_name": "UNet2DModel", "act_fn": "silu", "attention_head_dim": None, "center_input_sample": False, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "mid_block_scale_factor": 1, "norm_eps": 1e-06, "norm_num_groups": 32, "time_embedding_type": "positional"}),
    "sd-v1": (MODELS, {"_class_name": "UNet2DConditionModel", "act_fn": "silu", "attention_head_dim": 8, "center_input_sample": False, "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0, "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32}),
    "dit-xl/2": (MODELS, {"_class_name": "Transformer2DModel", "activation_fn": "gelu-approximate", "attention_head_dim": 72, "norm_elementwise_affine": False, "norm_eps": 1e-05, "norm_type": "ada_norm_zero", "num_attention_heads": 16, "sample_size": 32}),
    "kl-f8": (AUTOENCODERS, {"_class_name": "AutoencoderKL", "act_fn": "silu", "norm_num_groups": 32, "scaling_factor": 0.18215, "force_upcast": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_are_the_networks_own(tmp_path: Path, name: str) -> None:
    """Catches: a comparison that refuses the very files whose addresses `weights list` has."""
    registry, config = PUBLISHED[name]
    with torch.device("meta"):
        known = options_of(registry, name)
    (tmp_path / CONFIG).write_text(json.dumps(config))
    assert check_options(tmp_path, known, None) == []
    for key, value in {
        "num_attention_heads": 8,
        "attention_head_dim": 4,
        "scaling_factor": 1.0,
        "shift_factor": 0.1,
    }.items():
        if key in next(iter(known.values())) and config.get(key) != value:
            (tmp_path / CONFIG).write_text(json.dumps({**config, key: value}))
            with pytest.raises(InputError, match=f"{key} = {value}"):
                check_options(tmp_path, known, None)


def test_heads_of_a_network_with_a_context(tmp_path: Path) -> None:
    """`attention_head_dim` of a UNet2DConditionModel is their number. Catches: it read as their width."""
    same = {
        "resolution": 8,
        "channels": 4,
        "width": 16,
        "multipliers": [1, 2],
        "blocks": 1,
        "attention": [1, 2],
        "groups": 4,
        "context": 12,
    }
    number, width = (
        options_of(MODELS, "ldm-unet", heads=4, **same),
        options_of(MODELS, "ldm-unet", head_channels=8, **same),
    )
    for known, right, wrong in ((number, 4, 8), (width, [2, 4], 8)):
        for value in (right, wrong):
            model = UNet2DConditionModel(
                in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=4,
                cross_attention_dim=12, down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
                attention_head_dim=tuple(value) if isinstance(value, list) else value,
            )  # fmt: skip
            model.save_config(tmp_path)
            if value == right:
                assert check_options(tmp_path, known, None) == []
            else:
                with pytest.raises(InputError, match=f"attention_head_dim = {value}, the recipe has"):
                    check_options(tmp_path, known, None)


def test_a_configuration_of_somebody_else_is_no_word_on_these(tmp_path: Path) -> None:
    """Catches: any config.json taken for diffusers', a crash on what is no JSON, and an option of tomorrow passed over."""
    known = options_of(MODELS, "ddpm-digits")
    (tmp_path / CONFIG).write_text('{"architectures": ["CLIPModel"]}')
    assert f"no {CONFIG} beside the weights speaks of them" in check_options(tmp_path, known, None)[0]
    for spoilt in ("{", "[" * 100_000, "\0"):
        (tmp_path / CONFIG).write_text(spoilt)
        with pytest.raises(InputError, match=f"{CONFIG}: not readable as JSON"):
            check_options(tmp_path, known, None)
    (tmp_path / CONFIG).write_text('{"_class_name": "VQModel"}')
    with pytest.raises(InputError, match='_class_name = "VQModel", the recipe\'s network is UNet2DModel'):
        check_options(tmp_path, known, None)
    peer().save_config(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**config, "warp_drive": 9}))
    assert "not known here, and not compared: warp_drive" in check_options(tmp_path, known, None)[0]


# ---------------------------------------------------------------- first stages


def test_a_first_stage_s_options_are_compared(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches: another number of groups taken in the same shapes."""
    write_tiny_latent(project)
    vae = AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=2, layers_per_block=1, block_out_channels=(4, 4), norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    randomize(vae, seed=0)
    vae.save_pretrained(project / "vae")
    command = [
        "weights",
        "add",
        "latent",
        "--profile",
        "cpu",
        "--stage",
        "small",
        "--first-stage",
        str(project / "vae"),
    ]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "norm_num_groups = 4, the recipe has 2" in err
    assert err.rstrip().endswith("The ways on: give weights of the recipe's options")
    config = json.loads((project / "vae" / CONFIG).read_text())
    (project / "vae" / CONFIG).write_text(json.dumps({**config, "norm_num_groups": 2}))
    assert main(command) == 0
    assert "the scale of latents is measured, " in capsys.readouterr().out


def test_a_checkpoint_whose_first_stage_is_elsewhere_is_refused_at_once(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches: hours of training another first stage, whose latents are not those that it knows."""
    write_tiny_latent(project)
    assert main(["run", "latent", "--row", "latents"]) == 0
    (checkpoint,) = (project / "runs" / "checkpoints").glob("*.safetensors")
    checkpoint.rename(project / "brought.safetensors")
    (stage,) = (project / "runs" / "first-stages").glob("*.safetensors")
    monkeypatch.setenv("REPLICATION_HOME", str(project / "other"))
    capsys.readouterr()
    assert main(["forensics", "brought.safetensors", "--only", "weights", "--steps", "2"]) == 2
    assert f"its first stage 'small' is not here; copy the one that it was trained with to {project / 'other'}" in (
        err := capsys.readouterr().err
    )
    assert stage.name in err
    assert not list((project / "other").rglob("*.safetensors"))
