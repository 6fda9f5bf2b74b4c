"""Published weights listed, fetched from a local server, and found by the rows that they are for."""

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from harness.hub_server import Hub, serving
from harness.test_brought_weights import STEM, peer

from replication.cli import main
from replication.harness import fetched_weights
from replication.harness.experiment import load_experiment
from replication.harness.fetched_weights import fits, folder_of, is_here, named, published, rows_of
from replication.harness.jobs.cell import cells_of
from replication.harness.jobs.first_stage import first_stage_cells
from replication.layers.weight_files import NAME, read_weights, weight_files
from replication.registry import AUTOENCODERS, CLASSIFIERS, CONDITIONS, MODELS
from replication.types import InputError


def torch_file(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


TENSORS = {name: tensor.contiguous() for name, tensor in peer().state_dict().items()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    peer().save_pretrained(tmp_path / "saved")
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("nested/model.ckpt", torch_file({"state_dict": TENSORS}))
        archive.writestr("nested/config.yaml", "model: {}")
        archive.writestr("nested/logs.txt", "much")
    files = {
        "models/Net.pt": torch_file(TENSORS),
        "models/zoo.zip": zipped.getvalue(),
        "org/net/unet/config.json": (tmp_path / "saved" / "config.json").read_bytes(),
        f"org/net/unet/{NAME}": (tmp_path / "saved" / NAME).read_bytes(),
        f"org/net/unet/{STEM}.bin": b"not this one" * 1000,
        f"org/net/unet/{STEM}.fp16.safetensors": b"nor this one" * 1000,
        "org/net/scheduler/scheduler_config.json": b'{"_class_name": "DDPMScheduler"}',
        "org/net/safety/model.bin": b"x" * 2000,
        "org/net/README.md": b"# a card",
    }
    with serving(files, "org/net") as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setenv("REPLICATION_DATA", str(tmp_path / "data"))
        yield running


def weights_at(path: Path) -> bool:
    read = read_weights(weight_files(path))
    return all(torch.equal(read[name], tensor) for name, tensor in TENSORS.items())


def test_a_file_is_fetched_in_parts(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """Cut twice and gone on with; nothing is asked again once it is here. Catches: a beginning anew, and half a file that
    counts."""
    address, size = f"{hub.url}/models/Net.pt", len(hub.files["models/Net.pt"])
    hub.cut_after = size // 2 - 100
    for _ in range(2):
        assert main(["weights", "fetch", address]) == 2
        assert "the same command goes on from there" in capsys.readouterr().err
        assert not is_here(named(address))
    assert main(["weights", "fetch", address]) == 0
    assert [asked for _, asked, _ in hub.requests] == [None, f"bytes={hub.cut_after}-", f"bytes={2 * hub.cut_after}-"]
    assert weights_at(folder_of(named(address)) / "Net.pt")
    assert main(["weights", "fetch", address]) == 0
    assert len(hub.requests) == 3


def test_files_of_one_name_at_two_addresses(hub: Hub) -> None:
    """Catches: the first that was fetched given as the second."""
    hub.files["others/Net.pt"] = torch_file({"other": torch.zeros(1)})
    first, second = (fetched_weights.fetch(named(f"{hub.url}/{folder}/Net.pt")) for folder in ("models", "others"))
    assert weights_at(first)
    assert read_weights(weight_files(second)).keys() == {"other"}


def test_a_disk_that_is_too_small_is_said_before_the_download(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is here already needs no space again. Catches: a full disk after hours, an exit code of wrong input."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    assert main(["weights", "fetch", "org/net:unet"]) == 1
    assert "MB are needed" in capsys.readouterr().err
    assert not [path for path, *_ in hub.requests if path.endswith(NAME)]
    place = folder_of(named("org/net:unet")) / "unet" / NAME
    place.parent.mkdir(parents=True)
    place.write_bytes(hub.files[f"org/net/unet/{NAME}"])
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2000}))
    assert main(["weights", "fetch", "org/net:unet"]) == 0


def test_a_zip_is_unpacked_and_gone(hub: Hub, tmp_path: Path) -> None:
    """Catches: a ZIP that is taken for torch's own, which is one too, and 4 GB kept twice."""
    folder = fetched_weights.fetch(named(f"{hub.url}/models/zoo.zip"))
    assert {path.name for path in folder.iterdir()} == {"model.ckpt", "config.yaml", "fetched.json"}
    assert read_weights(weight_files(folder)).keys() == {f"state_dict.{name}" for name in TENSORS}


def test_of_a_model_on_the_hub_what_a_network_needs(hub: Hub, tmp_path: Path) -> None:
    """Sizes and SHA-256 are the Hub's; the token goes to the Hub alone. Catches: variants and pickles fetched beside it, a
    scheduler left behind, whose word on the schedule then has no say."""
    path = fetched_weights.fetch(named("org/net:unet"))
    assert weights_at(path)
    assert json.loads((path / "config.json").read_text())["_class_name"] == "UNet2DModel"
    folder = folder_of(named("org/net:unet"))
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert files == {f"unet/{NAME}", "unet/config.json", "scheduler/scheduler_config.json", "fetched.json"}
    assert {token for _, _, token in hub.requests} == {"Bearer hf_secret"}
    assert "hf_secret" not in (folder / "fetched.json").read_text() + repr(
        fetched_weights.remotes(named("org/net:unet"))
    )


def test_wrong_bytes_and_absent_models_are_refused(hub: Hub) -> None:
    """Catches: a download that is not what the Hub says it is."""
    right, tree = hub.files[f"org/net/unet/{NAME}"], hub.tree("org/net")
    hub.tree = lambda model: tree  # type: ignore[method-assign]
    hub.files[f"org/net/unet/{NAME}"] = right[:-1] + bytes([right[-1] ^ 1])
    with pytest.raises(InputError, match=r"is refused: got SHA-256 .*; what had been received was removed"):
        fetched_weights.fetch(named("org/net:unet"))
    for text, message in (
        ("org/net", r"no weights there; weights lie in: safety, unet; say org/net:FOLDER"),
        ("org/none", r"the Hub does not list its files .*set HF_TOKEN"),
        (f"{hub.url}/models/none.pt", "the server answers 404"),
    ):
        with pytest.raises(InputError, match=message):
            fetched_weights.fetch(named(text))
    with pytest.raises(InputError, match=r"unknown published weights 'dit-xl-256'; did you mean 'dit-xl-2-256'"):
        named("dit-xl-256")


def test_shards_are_fetched_with_their_index(hub: Hub, tmp_path: Path) -> None:
    peer().save_pretrained(tmp_path / "shards", max_shard_size="300KB")
    for path in [path for path in hub.files if path.startswith("org/net/unet/")]:
        del hub.files[path]
    for path in (tmp_path / "shards").iterdir():
        hub.files[f"org/net/unet/{path.name}"] = path.read_bytes()
    assert weights_at(fetched_weights.fetch(named("org/net:unet")))


# ---------------------------------------------------------------- the tables


def test_every_entry_names_what_there_is() -> None:
    """Catches: a part, a stage or a name that does not exist, and two entries under one name."""
    files = published()
    assert len({file.name for file in files}) == len(files)
    parts = {*MODELS.names(), *AUTOENCODERS.names(), *CONDITIONS.names(), *CLASSIFIERS.names()}
    assert {file.part for file in files} <= parts
    for stage in {stage for file in files for stage in file.stages}:
        experiment, _, name = stage.partition(":")
        assert name in {
            one.label for one in first_stage_cells(load_experiment(experiment, {}, "paper"), "paper", check=False)
        }


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("dit-xl-2-256", {"dit: DiT-XL/2, 7M", "dit: DiT-XL/2, 7M, guidance 1.5 on 3 of 4"}),
        ("dit-xl-2-512", {"dit: DiT-XL/2 at 512, 3M, guidance 1.5 on 3 of 4"}),
        ("sd-vae-ft-ema", {"dit: first stage kl-f8-ema"}),
        ("ldm-imagenet-4", {"ldm: ImageNet, LDM-4-G"}),
        ("ldm-churches", {"ldm: LSUN-Churches"}),
        ("ddpm-ema-cifar10", {"ddpm: DDPM", "ddpm: DDIM"}),
        ("ldm-ffhq", {"ldm: FFHQ"}),
        ("iddpm-cifar10", {"ddpm: IDDPM, CIFAR-10"}),
        ("adm-imagenet64", {"ddpm: ADM-G, ImageNet 64", "ddpm: ADM, ImageNet 64"}),
        ("adm-imagenet512", {"ddpm: ADM-G, ImageNet 512"}),
        ("adm-classifier-256", {"ddpm: ADM-G, ImageNet 256"}),
        ("adm-bedrooms", {"ddpm: ADM, bedrooms"}),
        ("sit-xl-2-256", {"dit: SiT-XL/2, guidance 1.5 on 3 of 4, Euler"}),
    ],
)
def test_the_rows_of_the_papers_figures_find_their_weights(name: str, rows: set[str]) -> None:
    """DiT's 2.27, LDM's 3.60, DDPM's 3.17. Catches: rows of other steps, blocks, meanings and schedules among them."""
    found = set(rows_of(named(name)))
    assert rows <= found
    assert not found & {
        "dit: DiT-XL/2",
        "dit: DiT-XL/2, in-context",
        "dit: DiT-XL/2, 2352K",
        "parameterizations: x0, DDIM",
    }
    assert not found & {"schedules: cosine, DDPM", "ddpm: DDPM, mean, L, fixed isotropic"}


def test_a_row_with_other_blocks_does_not_fit() -> None:
    cells = cells_of(load_experiment("dit", {}, "paper"), "paper", check=False)
    (other,) = (cell for cell in cells if cell.label == "DiT-XL/2, in-context")
    assert not fits(named("dit-xl-2-256")._replace(steps=0), other.recipe)
