"""Weights that come with the package: found where nothing was trained, drawn from as they were, and trained anew on demand."""

import re
from pathlib import Path

import pytest
import torch
from harness.tiny_latent import write_tiny_latent
from huggingface_hub import ModelCard
from PIL import Image
from safetensors import safe_open

from replication.checkpoint import load_metadata
from replication.cli import main
from replication.commands import weights
from replication.files import file_sha256
from replication.harness import shipping
from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.report.rows import read_csv
from replication.training import snapshots
from replication.training.snapshots import SHIPPED, VARIABLE

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture
def shipped(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of a package that ships the network on text of a tiny experiment, which has no state any more."""
    folder = project / "package"
    folder.mkdir()
    write_tiny_latent(project)
    monkeypatch.setenv("REPLICATION_HOME", str(project / "trained"))
    assert main(["run", "latent", "--row", "text", "--device", "cpu"]) == 0
    shipping.ship("latent", "text", None, "cpu", folder)
    monkeypatch.delenv("REPLICATION_HOME")
    for module in (snapshots, weights):
        monkeypatch.setattr(module, "SHIPPED", folder)
    capsys.readouterr()
    return folder


def drawn(out: str) -> bytes:
    assert main(["sample", "latent", "--prompt", "the digit seven", "-n", "2", "--out", out, "--device", "cpu"]) == 0
    return Path(out).read_bytes()


def test_prompts_are_drawn_without_training_as_they_were(shipped: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Levels within 2 of those of the weights as trained, since float16 has 11 bits. Catches a training that starts all the
    same, an encoder that is rounded, on whose latents the network was not trained, and a row that must be named."""
    monkeypatch.setenv("REPLICATION_HOME", str(project / "trained"))
    monkeypatch.setenv(VARIABLE, "none")
    drawn("trained.png")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("REPLICATION_HOME", str(project / "elsewhere"))
    drawn("shipped.png")
    assert not list((project / "elsewhere").rglob("*.safetensors"))
    one, other = (torch.frombuffer(bytearray(Image.open(f"{name}.png").convert("L").tobytes()), dtype=torch.uint8) for name in ("trained", "shipped"))  # fmt: skip
    assert (one.int() - other.int()).abs().max() <= 2


def test_a_run_finds_them_and_says_so_and_trains_anew_on_demand(shipped: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Catches shipped weights that pass for trained ones in a row, and a variable that is not heeded."""
    assert main(["plan", "latent"]) == 0
    assert main(["run", "latent", "--row", "text", "--device", "cpu"]) == 0
    assert not list((project / "runs").glob("checkpoints/*.safetensors"))
    monkeypatch.setenv(VARIABLE, "none")
    monkeypatch.setenv("REPLICATION_HOME", str(project / "anew"))
    assert main(["run", "latent", "--row", "text", "--device", "cpu"]) == 0
    assert len(list((project / "anew" / "checkpoints").glob("*.safetensors"))) == 1
    assert len(list((project / "anew" / "first-stages").glob("*.safetensors"))) == 1


def test_what_ships_is_not_written_over(shipped: Path, project: Path) -> None:
    """Weights that are given become a file of the state's own, which is found before what ships. Catches: another's weights in
    the package."""
    for path in shipped.glob("*.safetensors"):
        header, before = load_metadata(path), path.read_bytes()
        own = snapshots.Snapshots(project / "own", header["identity"])
        assert own.after(header["step"]) == path
        written = own.give(
            {"weight": torch.ones(1, 1)}, torch.nn.Linear(1, 1, bias=False), header["step"], "0" * 64, {}
        )
        assert written == own.after(header["step"]) == project / "own" / path.name
        assert path.read_bytes() == before


def test_forensics_goes_on_where_averaged_weights_alone_ship(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches: an examination that ends, hours after its start, as nothing ships that is not averaged."""
    examined = ["forensics", "latent", "--row", "text", "--only", "weights", "--only", "quantizer", "--device", "cpu"]
    assert main(examined) == 0
    out = capsys.readouterr().out
    assert "holds averaged weights alone, not raw ones; REPLICATION_SHIPPED=none trains it anew" in out
    assert "truncate" in out


def test_networks_and_decoders_ship_as_float16_and_each_has_a_card(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Catches a file of twice the size, an encoder in float16, a card that is of another file, and one that no list has."""
    files = sorted(shipped.glob("*.safetensors"))
    assert len(files) == 2
    for path in files:
        card = path.with_suffix(".md").read_text(encoding="utf-8")
        assert file_sha256(path) in card
        assert "| licence | MIT" in card
        assert f"`{VARIABLE}=none replicate run latent --profile cpu`" in card
        with safe_open(path, framework="pt") as file:
            kinds = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
        whole = {name.split(".")[1] for name, dtype in kinds.items() if dtype == torch.float32}
        assert whole in (set(), {"encoder", "quant_conv", "scale"})
    assert main(["weights", "list", "--all"]) == 0
    listed = capsys.readouterr().out
    assert all(f"package/{path.name}" in listed for path in files)
    assert "latent, cpu: text" in listed


def test_what_ships_is_small_and_of_todays_recipes() -> None:
    """At most 5 MB each and 20 MB in all. Catches weights of a recipe that was changed, which nothing would find."""
    files = list(SHIPPED.glob("*.safetensors"))
    assert all(path.stat().st_size <= 5e6 for path in files)
    assert sum(path.stat().st_size for path in files) <= 20e6
    wanted = set()
    for name, profile in (("ddpm", "cpu"), ("ldm", "evening"), ("dit", "evening")):
        for cell in cells_of(load_experiment(name), profile, check=False):
            recipe = cell.recipe
            wanted.add(f"{recipe.training_key}-{recipe.training.steps}")
            if recipe.first_stage:
                identity = recipe.first_stage.training_identity(recipe.build_dataset())
                wanted.add(f"{snapshots.Snapshots(SHIPPED, identity).key}-{recipe.first_stage.training.steps}")
    assert {path.stem for path in files} <= wanted


def test_the_cards_are_of_their_files_and_rows() -> None:
    """Catches a card of another file, of other figures than the committed row's, and one that the Hub does not read."""
    every = [row for path in RESULTS.glob("*.csv") for row in read_csv(path)]
    for path in SHIPPED.glob("*.safetensors"):
        text = path.with_suffix(".md").read_text(encoding="utf-8")
        card, given = ModelCard(text), load_metadata(path)["given"]
        figure = next(one for one in card.data.eval_results if one.metric_type in ("fd-cifar10-resnet", "fd-digits"))
        found = (figure.metric_args["low"], figure.metric_value, figure.metric_args["high"])
        # of the weights as they were trained, or as they ship; none until results/ are written anew
        rows = [row for row in every if given in (row.get("checkpoint.sha256"), row.get("checkpoint.given"))]
        assert found in [tuple(row[f"metric.fd{end}"] for end in ("_low", "", "_high")) for row in rows] or not rows
        assert found == tuple(sorted(found))
        assert re.search(rf"\| checkpoint\.(sha256|given) \| `{given}` \|", text)
        assert file_sha256(path) in text
        assert card.data.license == "mit"
