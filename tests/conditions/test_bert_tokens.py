"""BERT's word pieces of a text, from a folder with a tokenizer: for LDM's text transformer."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BertTokenizer

from replication.conditions.bert_tokens import BertTokens
from replication.datasets.dataset import Dataset
from replication.registry import CONDITIONS, DATASETS
from replication.types import InputError

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "an", "ship", "##s", "eight", "."]
LENGTH = 7


def write_tokenizer(folder: Path, pieces: list[str] = PIECES) -> Path:
    """As the Hub has it: a list of pieces, in a pipeline's folder."""
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return folder


@pytest.fixture
def data() -> Dataset:
    return replace(DATASETS.build("digits"), captions=tuple(f"a {name}" for name in DATASETS.build("digits").classes))


def build(folder: Path, **options: int) -> BertTokens:
    built: BertTokens = CONDITIONS.build(
        "bert-tokens", model=str(folder), **{"length": LENGTH, "vocabulary": 11, **options}
    )
    return built


def test_tokens_are_the_librarys(tmp_path: Path, data: Dataset) -> None:
    """Exact, padded as LDM's code pads. Catches: case, the start and the end left out, padding in another place or masked."""
    condition = build(write_tokenizer(tmp_path))
    texts = ["A Ship.", "eight ships"]
    peer = BertTokenizer.from_pretrained(str(tmp_path / "tokenizer"))
    expected = torch.tensor(peer([*texts, ""], padding="max_length", max_length=LENGTH)["input_ids"])
    assert expected.tolist() == [[2, 5, 7, 10, 3, 0, 0], [2, 9, 7, 8, 3, 0, 0], [2, 3, 0, 0, 0, 0, 0]]
    assert torch.equal(condition.of_prompts(texts, data), expected[:2])
    assert torch.equal(condition.null(data), expected[2])
    assert condition.encoded([], data, torch.device("cpu")).shape == (0, LENGTH)
    assert condition.of(torch.tensor([8, 0]), torch.tensor([8, 0]), data).shape == (2, LENGTH)


def test_what_does_not_fit_is_refused(tmp_path: Path, data: Dataset) -> None:
    """Catches: a long prompt cut in silence, tokens beyond the network's table, and a folder that is not a tokenizer's."""
    folder = write_tokenizer(tmp_path / "good")
    with pytest.raises(InputError, match="has 8 tokens, start and end included, and 7 fit"):
        build(folder).of_prompts(["a ship a ship a ship"], data)
    with pytest.raises(InputError, match="has a token 10, and the vocabulary is 10"):
        build(folder, vocabulary=10).of_prompts(["a ship."], data)
    other = write_tokenizer(tmp_path / "moved", PIECES[1:] + PIECES[:1])
    with pytest.raises(InputError, match="pads with token 10, and padding is token 0"):
        build(other).of_prompts(["a ship"], data)
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"has no tokenizer \(vocab.txt or tokenizer.json\).*FILE = vocab.txt, tokenizer_config.json"
    ):
        build(tmp_path / "empty").of_prompts(["a ship"], data)


def test_a_plan_needs_no_files(tmp_path: Path, data: Dataset, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes and the null are known before; the key is not that of the files. Catches: a plan that downloads or fails."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    absent = CONDITIONS.build("bert-tokens", length=LENGTH)
    assert absent.lacking == "CompVis/ldm-text2im-large-256"
    assert (absent.sizes(data).vocabulary, absent.sizes(data).length) == (30522, LENGTH)
    here = build(write_tokenizer(tmp_path / "here"))
    assert absent.null(data).dtype == here.null(data).dtype
    assert absent.null(data).shape == here.null(data).shape
    described = {"name": "bert-tokens", "options": {"length": LENGTH, "model": "x"}}
    assert absent.identity(described, data)["encoder"] == "not here"
    assert len(here.identity(described, data)["encoder"]) == 64
    with pytest.raises(InputError, match="`replicate weights fetch CompVis/ldm-text2im-large-256` fetches it"):
        absent.ensure(data)
