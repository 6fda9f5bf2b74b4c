"""A row that a classifier guides: planned without its weights, fetched first, drawn, and refused where it doesn't fit."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from harness.hub_server import Hub, serving
from harness.tiny import write_tiny
from ldm.test_classifier import official

from replication.check.models import randomize
from replication.cli import main
from replication.layers.weights import Published
from replication.ldm import classifier, published_weights
from replication.registry import CLASSIFIERS

NAME, LABEL = "toy-classifier", "sigma-hat"
CHANGES = (
    ('network = "ddpm-digits"', 'network = "ddpm-digits-label"\ncondition = { name = "label", dropout = 0.0 }'),
    ('nll = "fixed-large"\n', ""),
    ("n = 16", "n = 20"),
)
GUIDED = ('label = "sigma-hat"\n', f'label = "sigma-hat"\nguidance = {{ weight = 3.0, classifier = "{NAME}" }}\n')


def toy_classifier(weights: str = NAME) -> classifier.NoisyClassifier:
    """Of digits (Dhariwal and Nichol 2021)."""
    return classifier.adm_classifier(weights, 8, 1, 10, 8, [1, 2], 2, [2], 8, 4)


toy_classifier.identified = classifier._by_content  # type: ignore[attr-defined]


@pytest.fixture
def hub(project: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(toy_classifier, "__module__", classifier.__name__)
    CLASSIFIERS.register(NAME)(toy_classifier)
    network, content = toy_classifier().to_empty(device="cpu"), io.BytesIO()
    randomize(network, 5)
    torch.save(official(network), content)
    with serving({"c/classifier.pt": content.getvalue()}) as running:
        entry = Published(NAME, NAME, "digits", "official", f"{running.url}/c/classifier.pt", "CC0-1.0")
        monkeypatch.setattr(published_weights, "WEIGHTS", (*published_weights.WEIGHTS, entry))
        yield running
    del CLASSIFIERS._factories[NAME], CLASSIFIERS._canonical[NAME]


def rows(folder: Path) -> list[dict[str, object]]:
    found = [json.loads(file.read_text()) for file in folder.rglob("*.json")]
    return [row for row in found if isinstance(row, dict) and "metric.fd" in row]


def test_a_row_is_guided_by_published_weights(hub: Hub, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches: guidance that the row states and no image has, evaluations counted twice, a plan that asks for weights, a key
    that does not change with them, and weights fetched for a row that --only leaves out."""
    write_tiny(project, *CHANGES)
    assert main(["run", "tiny", "--row", LABEL]) == 0
    (plain,) = rows(project / "home")
    write_tiny(project, *CHANGES, GUIDED)
    assert main(["plan", "tiny", "--row", LABEL]) == 0
    capsys.readouterr()
    assert main(["run", "tiny", "--row", LABEL]) == 2
    assert f"`replicate weights fetch {NAME}` brings published ones" in capsys.readouterr().err
    assert main(["run", "tiny", "--only", "label=DDIM", "--weights", "auto"]) == 0  # the network is there already
    assert not hub.requests
    assert main(["run", "tiny", "--only", f"label={LABEL}", "--weights", "auto"]) == 0
    assert f"{NAME}: {NAME}, {hub.url}/c/classifier.pt" in capsys.readouterr().out
    (guided,) = (row for row in rows(project / "home") if row["sampling.guidance"] != "none")
    assert guided["sampling.guidance"] == f"3 by {NAME}"
    assert guided["sampling.nfe"] == plain["sampling.nfe"] == 2
    assert guided["metric.fd"] != plain["metric.fd"]
    assert guided["checkpoint.sha256"] == plain["checkpoint.sha256"]
    weights = project / "data" / "weights" / NAME / "classifier.pt"
    torch.save({**torch.load(weights), "out.2.c_proj.bias": torch.ones(10)}, weights)
    assert main(["plan", "tiny", "--row", LABEL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"][0]["state"] == "to run"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('condition = { name = "label", dropout = 0.0 }', ""), "guidance needs a conditional network"),
        ((f'classifier = "{NAME}"', 'classifier = "adm-classifier-64"'), "it has 1000 labels, and the row has 10 classes of digits"),
        ((f'classifier = "{NAME}"', 'classifier = "adm-classifier-65"'), "unknown classifier 'adm-classifier-65'; did you mean"),
        ((f'"{NAME}" }}', f'"{NAME}", channels = 3 }}'), "channels and interval are options of guidance without a classifier"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_plan(
    change: tuple[str, str], message: str, hub: Hub, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = ('"ddpm-digits-label"', '"ddpm-digits"') if "condition" in change[0] else ("sigma-hat", "sigma-hat")
    write_tiny(project, *CHANGES, GUIDED, change, network)
    assert main(["plan", "tiny"]) == 2
    assert message in capsys.readouterr().err
