"""Prompts as word numbers: what the tokens are, which keys they fix, and every prompt that is refused."""

import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from training_recipes import CPU, recipe

from replication.conditions import captions as fixed
from replication.conditions.text import words
from replication.registry import CONDITIONS, DATASETS
from replication.training.train import _Run
from replication.types import InputError

TEXT, CIFAR10 = CONDITIONS.build("text"), DATASETS.build("cifar10")


def spoken(tokens: torch.Tensor) -> list[str]:
    return [words()[i - 2] for i in tokens.tolist() if i > 1]


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_images_are_told_their_captions_word_for_word(name: str) -> None:
    """Catches a table in another order than the captions', words that are dropped, padding inside a prompt."""
    dataset = DATASETS.build(name)
    images = torch.arange(80)
    cond = TEXT.of(images % 10, images, dataset)
    assert cond.shape == (80, TEXT.length)
    assert cond.dtype == torch.int64
    numbers = fixed.caption_numbers(images % 10, images, dataset).tolist()
    for tokens, number in zip(cond, numbers, strict=True):
        said = fixed.captions(dataset)[number].split()
        assert spoken(tokens) == said
        assert tokens.tolist()[len(said) + 1 :] == [0] * (TEXT.length - 1 - len(said))
    assert cond[:, 0].eq(1).all()
    assert int(cond[:, 1].min()) >= 2
    assert int(cond.max()) < TEXT.vocabulary == len(words()) + 2


def test_case_punctuation_and_width_of_letters_say_nothing() -> None:
    """Catches punctuation that sticks to a word, and words that an underscore or a hyphen glues together."""
    plain, other, glued = TEXT.of_prompts(
        ["a photo of a ship", " A photo, of\ta SHIP!", "a-photo_of ａ ship."], CIFAR10
    )
    assert torch.equal(plain, other)
    assert torch.equal(plain, glued)
    assert TEXT.of_prompts([], CIFAR10).shape == (0, TEXT.length)


def test_nothing_said_is_the_empty_prompt() -> None:
    """Catches a null that is some caption's, or of another shape than a prompt's."""
    null = TEXT.null(CIFAR10)
    assert null.tolist() == [1] + [0] * (TEXT.length - 1)
    assert not (TEXT.of_prompts(list(fixed.captions(CIFAR10)), CIFAR10) == null).all(1).any()


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
    run = _Run(recipe(network="ddpm-digits-label", condition="text", batch_size=4000), CPU)
    images = torch.arange(4000)
    told = run._condition(images % 10, images)
    assert told is not None
    dropped = (told == TEXT.null(run.dataset)).all(1)
    assert abs(float(dropped.double().mean()) - 0.1) < 5 * (0.1 * 0.9 / 4000) ** 0.5
    assert torch.equal(told[~dropped], TEXT.of(images % 10, images, run.dataset)[~dropped])


@pytest.fixture
def templates(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, tuple[str, ...]], None]]:
    """Exchanges a dataset's templates for the time of a test."""

    def exchange(name: str, by: tuple[str, ...]) -> None:
        monkeypatch.setitem(fixed.TEMPLATES, name, by)
        fixed._of_name.cache_clear()

    yield exchange
    fixed._of_name.cache_clear()


def test_keys_change_with_the_captions(templates: Callable[[str, tuple[str, ...]], None]) -> None:
    """Catches a checkpoint that would be taken for one of other captions, and one dataset's keys that change with another's."""
    described = {"name": "text"}
    before = TEXT.identity(described, CIFAR10)
    templates("digits", ("{0}", "{1}"))
    assert TEXT.identity(described, CIFAR10) == before
    templates("cifar10", ("{0}", "a photo of {a0}"))
    after = TEXT.identity(described, CIFAR10)
    assert after["captions"] != before["captions"]
    assert after["words"] == before["words"]  # a vocabulary is made once per process


def test_the_vocabulary_is_what_checkpoints_were_trained_with() -> None:
    """Catches a word put in between: token numbers of trained networks would mean other words."""
    assert words()[:12] == (
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
    )
    assert len(words()) == 50
    assert words()[-1] == "truck"


def test_a_condition_asks_for_no_more_of_a_dataset_than_its_name_and_classes() -> None:
    dataset = SimpleNamespace(name="digits", classes=tuple("0123456789"))
    assert spoken(TEXT.of(torch.tensor([3]), torch.tensor([0]), dataset)[0]) == ["the", "digit", "three"]
