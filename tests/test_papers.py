"""What every paper's folder holds: a page that maps the paper to files, and tables of published weights."""

import importlib
import re
from pathlib import Path

import pytest
import torch

from replication.layers.weights import Published, Spelling
from replication.registry import AUTOENCODERS, CLASSIFIERS, MODELS

ROOT = Path(__file__).parents[1]
PAPERS = sorted(path.parent.name for path in ROOT.glob("replication/*/published_weights.py"))
PAPERS.remove("conditions")  # whose encoders the library reads that wrote them
PUBLISHED: list[Published] = [
    file for paper in PAPERS for file in importlib.import_module(f"replication.{paper}.published_weights").WEIGHTS
]


def test_papers_are_found() -> None:
    assert {"ddpm", "dit", "ldm"} <= set(PAPERS)


@pytest.mark.parametrize("paper", PAPERS)
def test_the_page_of_a_paper_names_files_and_parts_that_exist(paper: str) -> None:
    """Catches a page that a move of files left behind, and a class or function in it that was renamed."""
    page = importlib.import_module(f"replication.{paper}").__doc__ or ""
    paths = re.findall(r"[\w./-]+(?:\.py|\.toml|/)(?=[\s,;)]|\.\s|$)", page)
    assert len(paths) >= 10
    for path in paths:
        assert (ROOT / "replication" / path).exists() or (ROOT / path).exists(), path
    for path, names in re.findall(r"([\w/]+\.py) {2,}([A-Za-z]\w+(?:, \w+)*)", page):
        for name in names.split(", "):
            assert re.search(
                rf"^(class|def) {name}\b|^{name}\b.* = ", (ROOT / "replication" / path).read_text(), re.M
            ), name


@pytest.mark.parametrize("paper", PAPERS)
def test_spellings_are_told_apart_by_their_first_words(paper: str) -> None:
    """Catches a spelling that hides another of the same network, and one that is a reading of our own names."""
    spellings: list[Spelling] = importlib.import_module(f"replication.{paper}.published_weights").SPELLINGS
    for i, spelling in enumerate(spellings):
        assert issubclass(spelling.of, torch.nn.Module)
        hidden = [b for b in spellings[i + 1 :] if b.of is spelling.of and b.begins.startswith(spelling.begins)]
        assert not hidden, (spelling, hidden)


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: f"{file.part}, {file.what}")
def test_a_published_file_is_a_parts_and_says_where_it_is(file: Published) -> None:
    """Catches a part that was renamed, a spelling that nothing reads, an address in prose and a digest cut short."""
    assert file.url.startswith("https://")
    assert file.licence
    assert re.fullmatch("([0-9a-f]{64})?", file.sha256)
    (registry,) = (parts for parts in (MODELS, AUTOENCODERS, CLASSIFIERS) if file.part in parts.names())
    with torch.device("meta"):
        network = registry.build(file.part)
    folder = registry.get(file.part).__module__.rpartition(".")[0]
    beside = importlib.import_module(f"{folder}.published_weights")
    assert file in beside.WEIGHTS
    read = any(isinstance(network, s.of) and file.spelling == s.name for s in beside.SPELLINGS)
    assert read or registry is CLASSIFIERS
