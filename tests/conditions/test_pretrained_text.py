"""Pretrained text encoders: against transformers itself, and whatever is refused about files and prompts."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_encoders as tiny
import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file, save_file
from training_recipes import CPU, recipe
from transformers import CLIPConfig, CLIPModel

from replication.conditions.captions import caption_numbers, captions
from replication.conditions.encoder_files import located
from replication.registry import CONDITIONS, DATASETS
from replication.training.train import NetworkState
from replication.types import InputError

CIFAR10, DIGITS = DATASETS.build("cifar10"), DATASETS.build("digits")
WRITE: dict[str, Callable[..., Path]] = {"clip-text": tiny.write_clip, "t5-text": tiny.write_t5}
NAMES = list(WRITE)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp("encoders") / name) for name, write in WRITE.items()}


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy that a test may spoil."""
    return lambda name: Path(shutil.copytree(folders[name], tmp_path / "copy"))


def built(name: str, folder: Path, **options: Any) -> Any:
    return CONDITIONS.build(name, model=str(folder), **options)


def by_transformers(name: str, prompts: list[str], length: int) -> torch.Tensor:
    """What the tiny networks answer when transformers alone tokenizes, pads and masks."""
    clip = name == "clip-text"
    tokenizer = tiny.clip_tokenizer() if clip else tiny.t5_tokenizer()
    said = tokenizer(prompts, padding="max_length", max_length=length, return_tensors="pt")
    with torch.no_grad():
        if clip:
            return tiny.clip_network()(said.input_ids).last_hidden_state
        states = tiny.t5_network()(said.input_ids, attention_mask=said.attention_mask).last_hidden_state
    return states.masked_fill(said.attention_mask[..., None] == 0, 0.0)


@pytest.mark.parametrize(("name", "length"), [("clip-text", 40), ("t5-text", 50)])
def test_images_get_what_transformers_answers_to_their_captions(
    folders: dict[str, Path], name: str, length: int
) -> None:
    """max-abs 1e-6. Catches a table in another order, padding of another token, a mask left out, the state before the norm."""
    condition = built(name, folders[name], **({"length": length} if name == "t5-text" else {}))
    images = torch.arange(160)
    cond = condition.of(images % 10, images, CIFAR10)
    assert cond.shape == (160, condition.length, 16) == (160, length, 16)
    numbers = caption_numbers(images % 10, images, CIFAR10)
    expected = by_transformers(name, list(captions(CIFAR10)), length)
    assert float((cond - expected[numbers]).abs().max()) <= 1e-6
    assert not cond.requires_grad
    assert len({row.numpy().tobytes() for row in cond}) == 80


@pytest.mark.parametrize("name", NAMES)
def test_the_null_is_the_empty_prompt_encoded(folders: dict[str, Path], name: str) -> None:
    """max-abs 1e-6. Catches zeros as the null, as if the empty text had no tokens at all."""
    condition = built(name, folders[name])
    null = condition.null(DIGITS)
    assert float((null - by_transformers(name, [""], condition.length)[0]).abs().max()) <= 1e-6
    assert float(null[0].abs().max()) > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_means_the_same_alone_and_among_others(folders: dict[str, Path], name: str) -> None:
    """max-abs 1e-6. Catches padding to the longest of a batch, and batches that are put together in another order."""
    condition = built(name, folders[name])
    prompts = [f"a photo of {i} ship" for i in range(40)]
    together = condition.of_prompts(prompts, CIFAR10)
    alone = torch.cat([condition.of_prompts([prompt], CIFAR10) for prompt in prompts])
    assert float((together - alone).abs().max()) <= 1e-6
    assert condition.of_prompts([], CIFAR10).shape == (0, condition.length, 16)


def test_padding_of_t5_says_nothing(folders: dict[str, Path]) -> None:
    """max-abs 1e-6 where the prompt is, exactly 0 behind it. Catches tokens that attend to padding."""
    short, long = (built("t5-text", folders["t5-text"], length=n).of_prompts(["a ship"], CIFAR10)[0] for n in (9, 30))
    said = len(tiny.t5_tokenizer()("a ship").input_ids)
    assert float((short[:said] - long[:said]).abs().max()) <= 1e-6
    assert not long[said:].any()
    assert long[said - 1].any()


def test_two_lengths_in_one_process_do_not_mix(folders: dict[str, Path]) -> None:
    """Catches a table that is kept by its captions alone."""
    for length in (50, 60):
        condition = built("t5-text", folders["t5-text"], length=length)
        assert condition.of(torch.arange(2), torch.arange(2), DIGITS).shape == (2, length, 16)
        assert condition.null(DIGITS).shape == (length, 16)


def test_weights_under_their_published_names_and_folders(folders: dict[str, Path], tmp_path: Path) -> None:
    """max-abs 1e-6: a pipeline's two folders, weights as `text_model.`, vocab.json and merges.txt; and all of CLIP in one.

    Catches names that are not recognised, and tensors that are left at random.
    """
    pipeline, whole = tmp_path / "pipeline", tmp_path / "whole"
    (pipeline / "tokenizer").mkdir(parents=True)
    shutil.copytree(folders["clip-text"], pipeline / "text_encoder", ignore=shutil.ignore_patterns("tokenizer*"))
    weights = load_file(pipeline / "text_encoder" / "model.safetensors")
    save_file({f"text_model.{k}": v for k, v in weights.items()}, pipeline / "text_encoder" / "model.safetensors", {"format": "pt"})  # fmt: skip
    model = json.loads((folders["clip-text"] / "tokenizer.json").read_text())["model"]
    (pipeline / "tokenizer" / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "\n".join(["#version: 0.2", *(" ".join(m) for m in model["merges"])])
    (pipeline / "tokenizer" / "merges.txt").write_text(merges)

    shutil.copytree(folders["clip-text"], whole)
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 8, "patch_size": 4}  # fmt: skip
    clip = CLIPModel(CLIPConfig(text_config=tiny.clip_network().config.to_dict(), vision_config=vision))
    clip.text_model.load_state_dict(tiny.clip_network().state_dict())
    clip.save_pretrained(whole)

    expected = by_transformers("clip-text", ["a ship"], 40)
    for place in (pipeline, whole):
        found = built("clip-text", place).of_prompts(["a ship"], CIFAR10)
        assert float((found - expected).abs().max()) <= 1e-6, place


@pytest.mark.parametrize("name", NAMES)
def test_keys_go_by_the_files_and_not_by_their_path(folder: Callable[[str], Path], folders: dict[str, Path], name: str) -> None:  # fmt: skip
    """Catches a checkpoint taken for one trained with another encoder, and one that is lost when a folder moves."""

    def identity(place: Path, **options: Any) -> dict[str, Any]:
        part = {"name": name, "model": str(place), **options}
        return recipe(network="ddpm-digits-label", condition=part).identity["condition"]

    original, place = identity(folders[name]), folder(name)
    assert identity(place) == original
    assert str(place.parent) not in json.dumps(original)
    assert identity(place, dropout=0.2) != original
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "_name_or_path": "/elsewhere", "transformers_version": "4.0"}))  # fmt: skip
    assert identity(place) == original
    changed = []
    for path, content in [
        (place / "tokenizer.json", (place / "tokenizer.json").read_bytes() + b"\n"),
        (place / "config.json", json.dumps({**config, "layer_norm_eps": 0.5, "layer_norm_epsilon": 0.5}).encode()),
        (place / "model.safetensors", (place / "model.safetensors").read_bytes()[:-1] + b"\1"),
    ]:
        path.write_bytes(content)
        changed.append(identity(place)["encoder"])
    assert len({original["encoder"], *changed}) == 4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "has no model.safetensors, only pytorch_model.bin, a pickle, and pickles are never opened"),
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors[.] `replicate weights fetch .*` fetches it; or put https://huggingface.co/"),
        (lambda f: ((f / "model.safetensors").unlink(), (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors"}}')), "shards that are missing: x-1.safetensors, x-2.safetensors"),
        (lambda f: (f / "tokenizer.json").unlink(), r"has no tokenizer \(tokenizer.json"),
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "config.json").write_text("{"), "config.json can't be read"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "is of model_type 'bert', not (clip or clip_text_model|t5)"),
        (lambda f: (f / "model.safetensors").write_bytes(b"PK nonsense"), "does not hold a (CLIPTextModel|T5EncoderModel) and its tokenizer"),
        (lambda f: save_file(dict(list(load_file(f / "model.safetensors").items())[1:]), f / "model.safetensors", {"format": "pt"}), "1 tensors are missing"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "does not hold a (CLIPTextModel|T5EncoderModel) and its tokenizer"),
    ],
)  # fmt: skip
def test_files_that_are_missing_or_wrong_are_refused(
    folder: Callable[[str], Path], name: str, spoil: Callable[[Path], Any], message: str
) -> None:
    """Catches pickles that are opened after all, and random weights where the file has none."""
    place = folder(name)
    spoil(place)
    with pytest.raises(InputError, match=message) as caught:
        built(name, place).null(CIFAR10)
    assert str(caught.value).startswith(f"condition '{name}': ")


@pytest.mark.parametrize("name", NAMES)
def test_a_repository_in_the_hubs_cache_is_read_where_the_hub_would(
    folder: Callable[[str], Path], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout is huggingface_hub's, which is asked for the folder. Catches another snapshot than main's."""
    repository = tmp_path / "hub" / "models--somebody--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    for commit in ("a" * 40, "b" * 40):
        (repository / "snapshots" / commit).mkdir(parents=True)
    shutil.copytree(folder(name), repository / "snapshots" / ("a" * 40), dirs_exist_ok=True)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    found = located("somebody/tiny", CONDITIONS.get(name).kind)
    expected = snapshot_download("somebody/tiny", cache_dir=tmp_path / "hub", local_files_only=True)
    assert found.folder == Path(expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_is_not_here_is_refused_without_a_network(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Catches a download nobody asked for, and the minutes until it gives up."""

    def unreachable(*_: Any) -> None:
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    for model in ("nobody/no-such-model", "/no/such/folder", "..", "", "a b"):
        with pytest.raises(InputError, match=f"condition '{name}'.*put https://huggingface.co/.* into a folder"):
            built(name, Path(model) if model == ".." else model).null(CIFAR10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "prompt '' is blank"),
        (" \n", "is blank"),
        (os.fsdecode(b"a ship \xff"), r"prompt 'a ship \\udcff' is not valid UTF-8"),
        ("1 " * 90, r"\.\.\. \(180 characters\) has (92|181) tokens, start and end included, and (40|77) fit"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(folders: dict[str, Path], name: str, prompt: str, message: str) -> None:
    """Catches a prompt that is cut off in silence."""
    with pytest.raises(InputError, match=message):
        built(name, folders[name]).of_prompts(["a ship", prompt], CIFAR10)


def test_the_longest_prompt_that_fits_is_taken(folders: dict[str, Path]) -> None:
    """40 tokens: start, 38 figures, end. Catches a limit that is off by the special tokens."""
    clip = built("clip-text", folders["clip-text"])
    assert clip.of_prompts(["1 " * 38], CIFAR10).shape == (1, 40, 16)
    with pytest.raises(InputError, match="has 41 tokens, start and end included, and 40 fit"):
        clip.of_prompts(["1 " * 39], CIFAR10)


def test_characters_without_a_token_are_refused_by_t5_and_spelt_in_bytes_by_clip(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"has characters that the tokenizer of .* lacks"):
        built("t5-text", folders["t5-text"]).of_prompts(["a ship \U0001f6a2"], CIFAR10)
    clip = built("clip-text", folders["clip-text"])
    ships = clip.of_prompts(["a \U0001f6a2", "a \U0001f6a3"], CIFAR10)
    assert not torch.equal(ships[0], ships[1])


@pytest.mark.parametrize("name", NAMES)
def test_encoding_is_silent_and_draws_no_random_number(folder: Callable[[str], Path], name: str, capfd: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Catches a first step of training whose dropout differs from a resumed run's, and bars amid a table."""
    condition = built(name, folder(name))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    condition.of(torch.arange(3), torch.arange(3), DIGITS)
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")


def test_training_drops_whole_prompts(folders: dict[str, Path]) -> None:
    """Exactly the null or the caption, the former 0.1 of 2,000 within five standard errors. Catches dropout by token."""
    part = {"name": "clip-text", "model": str(folders["clip-text"])}
    run = NetworkState(recipe(network="ddpm-digits-label", condition=part, batch_size=2000), CPU)
    images = torch.arange(2000)
    cond = run._condition(images % 10, images)
    assert cond is not None
    assert run.condition is not None
    dropped = (cond == run.condition.null(DIGITS)).all((1, 2))
    assert abs(float(dropped.double().mean()) - 0.1) < 5 * (0.1 * 0.9 / 2000) ** 0.5
    assert torch.equal(cond[~dropped], run.condition.of(images % 10, images, DIGITS)[~dropped])


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_encodes_the_same_and_is_given_back(folder: Callable[[str], Path], name: str) -> None:
    """max-abs 1e-4 against the CPU. Catches TF32, and an encoder that keeps the memory that training needs."""
    condition, images = built(name, folder(name)), torch.arange(10, device="cuda")
    cond = condition.of(images, images, CIFAR10)
    assert cond.is_cuda
    assert not next(condition.network.parameters()).is_cuda
    expected = by_transformers(name, list(captions(CIFAR10)), condition.length)
    assert float((cond.cpu() - expected[caption_numbers(images, images, CIFAR10).cpu()]).abs().max()) <= 1e-4


def test_transformers_is_imported_only_for_conditions_that_need_it() -> None:
    """Catches seconds added to every command."""
    code = "import sys; from replication.registry import CONDITIONS as c; c.names(); c.build('text'); assert not {'transformers', 'huggingface_hub'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], timeout=60)
