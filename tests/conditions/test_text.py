"""Prompts as word numbers: what the tokens are, which keys they fix, and every prompt that is refused."""

import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from training_recipes import CPU, recipe

from replication.conditions.captions import caption_numbers, words
from replication.datasets.dataset import captions
from replication.registry import CONDITIONS, DATASETS
from replication.training.train import NetworkState
from replication.types import InputError

TEXT, CIFAR10 = CONDITIONS.build("text"), DATASETS.build("cifar10")


def spelt(tokens: torch.Tensor, dataset: Any = CIFAR10) -> list[str]:
    of_number = {i: word for word, i in words(dataset.captions).items()}
    return [of_number[i] for i in tokens.tolist() if i > 1]


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_images_are_paired_with_their_captions_word_for_word(name: str) -> None:
    """Catches a table in another order than the captions', words that are dropped, padding inside a prompt."""
    dataset = DATASETS.build(name)
    images = torch.arange(80)
    cond = TEXT.of(images % 10, images, dataset)
    assert cond.shape == (80, TEXT.length)
    assert cond.dtype == torch.int64
    numbers = caption_numbers(images % 10, images, dataset).tolist()
    for tokens, number in zip(cond, numbers, strict=True):
        caption = dataset.captions[number].split()
        assert spelt(tokens, dataset) == caption
        assert tokens.tolist()[len(caption) + 1 :] == [0] * (TEXT.length - 1 - len(caption))
    assert cond[:, 0].eq(1).all()
    assert int(cond[:, 1].min()) >= 2
    assert int(cond.max()) < TEXT.sizes(dataset).vocabulary == len(words(dataset.captions)) + 2


def test_case_punctuation_and_width_of_letters_change_nothing() -> None:
    """Catches punctuation that sticks to a word, and words that an underscore or a hyphen glues together."""
    plain, other, glued = TEXT.of_prompts(
        ["a photo of a ship", " A photo, of\ta SHIP!", "a-photo_of ａ ship."], CIFAR10
    )
    assert torch.equal(plain, other)
    assert torch.equal(plain, glued)
    assert TEXT.of_prompts([], CIFAR10).shape == (0, TEXT.length)


def test_the_null_is_the_empty_prompt() -> None:
    """Catches a null that is some caption's, or of another shape than a prompt's."""
    null = TEXT.null(CIFAR10)
    assert null.tolist() == [1] + [0] * (TEXT.length - 1)
    assert not (TEXT.of_prompts(list(CIFAR10.captions), CIFAR10) == null).all(1).any()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "prompt '' is blank"),
        (" \t\n", r"prompt ' \\t\\n' is blank"),
        ("?!", "prompt '[?]!' has no words"),
        ("a " * 12, "has 12 words, and 11 fit"),
        ("ship " * 100_000, r"\.\.\. \(500,000 characters\) has 100,000 words, and 11 fit"),
        (os.fsdecode(b"a ship \xff"), r"prompt 'a ship \\udcff' is not valid UTF-8"),
        (b"a ship \xff", "prompt b'a ship .xff' is not valid UTF-8"),
        ("a photo of a shipp", "prompt 'a photo of a shipp': unknown word 'shipp'; did you mean 'ship'"),
        ("a ship \U0001f6a2", "unknown word"),
        ("a ship\0", "unknown word"),
        ("x" * 100_000, r"unknown word 'x{40}'"),
    ],
)  # fmt: skip
def test_a_prompt_that_is_not_understood_is_refused(prompt: str, message: str) -> None:
    """Catches words that are cut off or left out in silence, and a message that repeats half a megabyte."""
    with pytest.raises(InputError, match=message) as caught:
        TEXT.of_prompts(["a ship", prompt], CIFAR10)
    assert len(str(caught.value)) < 700


def test_eleven_words_fit() -> None:
    assert int((TEXT.of_prompts(["a " * 11], CIFAR10) > 0).sum()) == 12


def test_training_drops_whole_prompts_a_tenth_of_the_time() -> None:
    """0.1 of 4,000 within five standard errors. Catches dropout of single words, and captions drawn by the label alone."""
    run = NetworkState(recipe(network="ddpm-digits-label", condition="text", batch_size=4000), CPU)
    images = torch.arange(4000)
    cond = run._condition(images % 10, images)
    assert cond is not None
    dropped = (cond == TEXT.null(run.dataset)).all(1)
    assert abs(float(dropped.double().mean()) - 0.1) < 5 * (0.1 * 0.9 / 4000) ** 0.5
    assert torch.equal(cond[~dropped], TEXT.of(images % 10, images, run.dataset)[~dropped])


def test_keys_change_with_the_captions_of_the_dataset_alone() -> None:
    """Catches a checkpoint that would be taken for one of other captions, and keys that change with another dataset's."""
    described = {"name": "text"}
    before = TEXT.identity(described, CIFAR10)
    other = replace(CIFAR10, captions=captions([(name,) for name in CIFAR10.classes], ("{0}", "a photo of {a0}")))
    assert TEXT.identity(described, replace(CIFAR10, flip=False)) == before
    assert TEXT.identity(described, other) != before
    assert spelt(TEXT.of_prompts(["a photo of an airplane"], other)[0], other) == ["a", "photo", "of", "an", "airplane"]
    with pytest.raises(InputError, match="unknown word 'blurry'"):
        TEXT.of_prompts(["a blurry photo"], other)


def test_the_vocabulary_is_what_checkpoints_were_trained_with() -> None:
    """Catches a word put in between, or another dataset's: token numbers of trained networks would mean other words."""
    digits = words(DATASETS.build("digits").captions)
    assert list(digits)[:12] == [
        "the",
        "digit",
        "zero",
        "a",
        "handwritten",
        "0",
        "written",
        "by",
        "hand",
        "number",
        "scan",
        "of",
    ]
    assert (len(digits), list(digits)[-1]) == (33, "9")
    assert (len(words(CIFAR10.captions)), list(words(CIFAR10.captions))[-1]) == (22, "truck")


def test_a_condition_depends_on_no_more_of_a_dataset_than_its_protocol() -> None:
    dataset = SimpleNamespace(name="pets", classes=("cat", "dog"), captions=("a cat", "cat", "a dog", "dog"))
    assert spelt(TEXT.of(torch.tensor([1]), torch.tensor([2]), dataset)[0], dataset) == ["dog"]
