"""What holds for every extractor whose weights are part of the package."""

import hashlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch_fidelity
from torch.utils.data import Dataset

from replication.metrics import extractor as module
from replication.metrics.training import TRAININGS, card
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError

NAMES = sorted(TRAININGS)


class Images(Dataset[torch.Tensor]):
    """40 random uint8 images of the extractor's shape, below `brightest`."""

    def __init__(self, name: str, brightest: int):
        shape = (40, *EXTRACTORS.build(name).shape)
        self.images = torch.randint(brightest, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def kid(a: torch.Tensor, b: torch.Tensor) -> float:
    """Unbiased squared MMD of features [N,D] under the kernel (x.y / D + 1)^3 (Binkowski et al. 2018)."""

    def kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x.double() @ y.double().T / x.shape[1] + 1) ** 3

    def off_diagonal(x: torch.Tensor) -> torch.Tensor:
        within = kernel(x, x)
        return (within.sum() - within.trace()) / (len(x) * (len(x) - 1))

    return float(off_diagonal(a) + off_diagonal(b) - 2 * kernel(a, b).mean())


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_small_and_pinned(name: str) -> None:
    """The shipped file is under 3 MB and has the pinned hash. Catches: new weights under an old hash."""
    extractor = EXTRACTORS.build(name)
    content = extractor.path.read_bytes()
    assert len(content) < 3e6
    assert hashlib.sha256(content).hexdigest() == extractor.sha256


@pytest.mark.parametrize("name", NAMES)
def test_card_is_the_trainings(name: str) -> None:
    """The shipped card, word for word, is what the training writes for the accuracy on it. Catches: a training, a network
    or a dataset that was changed without a new training."""
    extractor, training = EXTRACTORS.build(name), TRAININGS[name]
    shipped = extractor.path.with_suffix(".md").read_text()
    correct = int(re.search(r"% \(([\d,]+) of n =", shipped)[1].replace(",", ""))
    dataset = DATASETS.build(extractor.classifies)
    seen, test = (
        SimpleNamespace(labels=range(dataset.sizes[split]), fingerprint=dataset.fingerprints[split])
        for split in ("train", "test")
    )
    assert card(shipped, training, seen, test, correct, extractor.sha256) == shipped
    bare = re.sub(
        r"(?m)^\| (parameters|training data|length|test accuracy|test data|SHA-256) \|.*$", r"| \1 | |", shipped
    )
    assert bare != shipped
    assert card(bare, training, seen, test, correct, extractor.sha256) == shipped


def test_cards_state_the_optimisers() -> None:
    """The rows that are written by hand hold the optimisers' numbers. Catches: a learning rate changed beside its card."""
    for name, training in TRAININGS.items():
        text = EXTRACTORS.build(name).path.with_suffix(".md").read_text()
        optimiser = re.search(r"\| optimiser \| (.*) \|", text)[1]
        model = EXTRACTORS.build(name).classifier()
        group = training.optimizer(model, 10)[0].param_groups[0]
        assert f"{group['initial_lr']:g}" in optimiser
        assert f"weight decay {group['weight_decay']:g}" in optimiser
        assert f"momentum {group['momentum']:g}" in optimiser if "momentum" in group else "AdamW" in optimiser
        assert f"smoothing {training.smoothing:g}" in text if training.smoothing else "smoothing" not in text


@pytest.mark.parametrize("name", NAMES)
def test_tampered_weights_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit changed in the weights, or no file: InputError naming the file, from `ensure` and from extraction.
    Catches: the hash computed but not compared."""
    extractor = EXTRACTORS.build(name)
    content = bytearray(extractor.path.read_bytes())
    content[-5] ^= 1
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    extractor.path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{extractor.path} has SHA-256 {hashlib.sha256(content).hexdigest()}"):
        extractor.ensure()
    with pytest.raises(InputError, match="expected"):
        extractor(Images(name, 256).images)
    extractor.path.unlink()
    with pytest.raises(InputError, match="cannot read"):
        extractor.ensure()


@pytest.mark.parametrize("name", NAMES)
def test_torch_fidelity_computes_the_same(name: str, plugged_in: None) -> None:
    """KID and IS that torch-fidelity computes from images with this extractor plugged in are those of our features, 1e-5
    relative. Catches: layers exchanged, images prepared otherwise, batches in another order."""
    first, second = Images(name, 256), Images(name, 100)
    theirs = torch_fidelity.calculate_metrics(
        **{"input1": first, "input2": second, "feature_extractor": name, "kid": True, "isc": True},
        **{"kid_subsets": 1, "kid_subset_size": len(first), "isc_splits": 1, "batch_size": 16},
        **{"cuda": False, "cache": False, "verbose": False, "save_cpu_ram": True},
    )
    extractor = EXTRACTORS.build(name)
    ours, other = extractor(first.images), extractor(second.images)
    assert theirs[torch_fidelity.KEY_METRIC_KID_MEAN] == pytest.approx(kid(ours.values, other.values), rel=1e-5)
    p = ours.logits.double().softmax(1)
    score = (p * (p.log() - p.mean(0, keepdim=True).log())).sum(1).mean().exp().item()
    assert theirs[torch_fidelity.KEY_METRIC_ISC_MEAN] == pytest.approx(score, rel=1e-5)
