"""Datasets that a user brings: what is read, how it is prepared, where it is kept, and what is refused."""

import dataclasses
import os
import re
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from harness.tiny import TOML, write_tiny
from photograph_folders import FORMS, cropped, expected_print, halved, records_in_order, write_photographs
from PIL import Image

from replication.cli import main
from replication.conditions.captions import caption_numbers
from replication.datasets import brought as brought_module
from replication.datasets.brought import Brought
from replication.datasets.pictures import prepared
from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError, RunError

NAMES = ["celeba-64", "celebahq-256", "ffhq-256", "imagenet-256", "lsun-bedrooms-256", "lsun-churches-256"]


def faces() -> Brought:
    return DATASETS.build("celebahq-256", resolution=8)


def three_classes() -> Brought:
    """ImageNet's class with three of them; after `add` it is read back by the factory."""
    return dataclasses.replace(DATASETS.build("imagenet-256", resolution=8), classes=("0", "1", "2"), asked="012")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    write_photographs(tmp_path / "copy", 30)
    return tmp_path / "copy"


# ---------------------------------------------------------------- what is read and how it is prepared


@pytest.mark.parametrize(("preprocessing", "expected"), [("crop, bicubic", cropped), ("box halving, bicubic, crop", halved)])  # fmt: skip
def test_each_preprocessing_is_pillow_s_own_computation(tmp_path: Path, preprocessing, expected) -> None:
    """Max-abs 0 at 40 odd sizes. Catches: resize before crop, a bilinear filter, one halving too many or too few, a
    crop that is off by a pixel, a size that is cut off and not rounded."""
    different = 0
    for file in write_photographs(tmp_path, 40):
        own = prepared(Image.open(file).convert("RGB"), 8, preprocessing)
        assert np.array_equal(own, expected(file, 8)), file.name
        different += not np.array_equal(cropped(file, 8), halved(file, 8))
    assert different > 30  # the two are two


def test_a_square_of_the_resolution_is_taken_as_it_is() -> None:
    """Max-abs 0. Catches a filter that is applied at factor one."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for way in ("crop, bicubic", "crop, lanczos", "bilinear, crop", "box halving, bicubic, crop"):
        assert np.array_equal(prepared(Image.fromarray(pixels), 16, way), pixels)


def test_lsun_of_progressive_gans_is_pillow_s_lanczos(tmp_path: Path) -> None:
    """Max-abs 0 at 20 odd sizes. Catches a bicubic filter, and a resize before the crop."""
    for file in write_photographs(tmp_path, 20):
        image = Image.open(file).convert("RGB")
        least = min(image.size)
        left, upper = (image.width - least) // 2, (image.height - least) // 2
        square = image.crop((left, upper, left + least, upper + least)).resize((8, 8), Image.Resampling.LANCZOS)
        assert np.array_equal(prepared(image, 8, "crop, lanczos"), np.asarray(square)), file.name


def by_formula(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """OpenCV's INTER_LINEAR by its documented formula: src = (dst + 0.5) * scale - 0.5, held at the edges, no average."""
    y = np.clip((np.arange(height) + 0.5) * pixels.shape[0] / height - 0.5, 0, pixels.shape[0] - 1)
    x = np.clip((np.arange(width) + 0.5) * pixels.shape[1] / width - 0.5, 0, pixels.shape[1] - 1)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    below, right = np.minimum(top + 1, pixels.shape[0] - 1), np.minimum(left + 1, pixels.shape[1] - 1)
    v, u, p = (y - top)[:, None, None], (x - left)[None, :, None], pixels.astype(float)
    upper = p[top][:, left] * (1 - u) + p[top][:, right] * u
    lower = p[below][:, left] * (1 - u) + p[below][:, right] * u
    return upper * (1 - v) + lower * v


def test_opencv_s_bilinear_filter_takes_four_pixels(tmp_path: Path) -> None:
    """Within half a level, which is the rounding, at 20 odd sizes. Catches Pillow's filter, which averages; aligned
    corners; a crop before the resize; and a crop that is off by a pixel."""
    averaged = 0
    for file in write_photographs(tmp_path, 20):
        image = Image.open(file).convert("RGB")
        width, height = (round(side * 8 / min(image.size)) for side in image.size)
        expected = by_formula(np.asarray(image), height, width)
        upper, left = (height - 8) // 2, (width - 8) // 2
        own = prepared(image, 8, "bilinear, crop").astype(float)
        assert np.abs(own - expected[upper : upper + 8, left : left + 8]).max() <= 0.5 + 1e-3, file.name
        smooth = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).astype(float)
        averaged += np.abs(own - smooth[upper : upper + 8, left : left + 8]).max() > 2
    assert averaged > 10  # the two filters are two


def test_celeba_s_face_is_cut_out_of_the_aligned_photograph() -> None:
    """Max-abs 0. Catches rows for columns, another centre, and a filter that is not Pillow's bilinear."""
    pixels = np.random.default_rng(0).integers(0, 256, (218, 178, 3), dtype=np.uint8)
    face = Image.fromarray(pixels[121 - 64 : 121 + 64, 89 - 64 : 89 + 64])
    expected = np.asarray(face.resize((64, 64), Image.Resampling.BILINEAR))
    assert np.array_equal(prepared(Image.fromarray(pixels), 64, "celeba crop, bilinear"), expected)
    with pytest.raises(InputError, match="the image is 218x178, aligned CelebA is 178x218"):
        prepared(Image.fromarray(pixels.transpose(1, 0, 2)), 64, "celeba crop, bilinear")


def test_a_copy_without_a_test_split(copy: Path) -> None:
    """Every sixth of the canonical order is test; images, fingerprint and sizes against the definition, max-abs 0.
    Catches: the order of the files, CHW records, a label of one byte, files of one format or folder left out."""
    faces().add(copy)
    pairs = records_in_order([(0, cropped(f, 8)) for f in copy.rglob("*") if f.suffix in FORMS])
    splits = {"test": pairs[::6], "train": [pair for i, pair in enumerate(pairs) if i % 6]}
    dataset = faces()
    assert dataset.sizes == {"train": 25, "test": 5}
    for split, examples in splits.items():
        loaded = dataset.load(split)
        assert np.array_equal(loaded.images.permute(0, 2, 3, 1).numpy(), np.stack([image for _, image in examples]))
        assert loaded.labels.tolist() == [0] * len(examples)
        assert loaded.fingerprint == dataset.fingerprints[split] == expected_print(examples)
    assert dataset.verify() == dataset.fingerprints


def test_linked_folders_are_read_once(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A part that lies on another disk, and links that lead in a circle; beside them a file whose name is not UTF-8.

    Catches: images behind a link left out without a word, an endless walk, a message that cannot be printed.
    """
    write_photographs(tmp_path / "disk" / "part", 12)
    (copy / "part").symlink_to(tmp_path / "disk" / "part")
    (copy / "again").symlink_to(tmp_path / "disk" / "part")
    (copy / "above").symlink_to(copy)
    Path(os.fsdecode(os.fsencode(copy) + b"/lisez-moi \xe9.txt")).touch()
    faces().add(copy)
    assert sum(faces().sizes.values()) == 42
    assert r"lisez-moi \xe9.txt" in capsys.readouterr().out


def test_content_alone_identifies(copy: Path, tmp_path: Path) -> None:
    """Catches a fingerprint or a split that depends on names, folders or the order of the files."""
    faces().add(copy)
    before = faces().fingerprints
    for i, file in enumerate(sorted(copy.rglob("*.*"), reverse=True)):
        (tmp_path / "other").mkdir(exist_ok=True)
        file.rename(tmp_path / "other" / f"{i:03}{file.suffix}")
    faces().add(tmp_path / "other")
    assert faces().fingerprints == before


@pytest.mark.parametrize("second", ["test", "val"])
def test_a_split_of_its_own_is_kept(tmp_path: Path, second: str) -> None:
    """Catches a copy whose splits are mixed, and one whose test images are split once more."""
    write_photographs(tmp_path / "train", 12, seed=1)
    files = write_photographs(tmp_path / second, 10, seed=2)
    faces().add(tmp_path)
    assert faces().sizes == {"train": 12, "test": 10}
    assert faces().load("test").fingerprint == expected_print([(0, cropped(f, 8)) for f in files])


def test_a_folder_per_class(tmp_path: Path) -> None:
    """Labels are the order of the folders' names. Catches: the order of the disk, a label lost in the sorting."""
    names, counts = ("n00000003", "n00000001", "n00000002"), (8, 6, 7)
    pairs = []
    for name, n in zip(names, counts, strict=True):
        files = write_photographs(tmp_path / "train" / name, n, seed=n)
        pairs += [(sorted(names).index(name), cropped(f, 8)) for f in files]
        write_photographs(tmp_path / "val" / name, 4, seed=10 * n)
    three_classes().add(tmp_path)
    dataset = DATASETS.build("imagenet-256", resolution=8)
    train = dataset.load("train")
    assert dataset.classes == ("n00000001", "n00000002", "n00000003")
    assert train.labels.tolist() == [0] * 6 + [1] * 7 + [2] * 8
    assert train.fingerprint == expected_print(pairs)
    assert dataset.verify() == dataset.fingerprints


def test_a_thousand_classes_need_two_bytes(tmp_path: Path) -> None:
    """Catches a label that is cut to its last byte: 999 is 3 x 256 + 231."""
    image = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    for k in range(1000):
        (tmp_path / f"n{k:08}").mkdir()
        image.save(tmp_path / f"n{k:08}" / "0.png", compress_level=0)
    DATASETS.build("imagenet-256", resolution=8).add(tmp_path)
    dataset = DATASETS.build("imagenet-256", resolution=8)
    assert dataset.sizes == {"train": 990, "test": 10}
    assert dataset.load("test").labels.tolist() == list(range(0, 1000, 100))
    pixels = np.asarray(image)
    assert dataset.fingerprints["train"] == expected_print([(k, pixels) for k in range(1000) if k % 100])


def test_resolutions_and_preprocessings_stand_side_by_side(tmp_path: Path) -> None:
    """Catches one that overwrites the other, and a fingerprint that a way of preparing has no part in."""
    for k in "012":
        write_photographs(tmp_path / "copy" / k, 8, seed=ord(k), smallest=24)
    built = {}
    for resolution, way in ((8, "crop, bicubic"), (8, "box halving, bicubic, crop"), (12, "crop, bicubic")):
        options = {"resolution": resolution, "preprocessing": way}
        dataclasses.replace(DATASETS.build("imagenet-256", **options), asked="012").add(tmp_path / "copy")
        built[resolution, way] = DATASETS.build("imagenet-256", **options)
    assert len({d.fingerprints["train"] for d in built.values()}) == 3
    assert all(d.load("train").images.shape[2] == d.resolution for d in built.values())
    assert "also as 8-box-halving-bicubic-crop" in built[8, "crop, bicubic"].status()


# ---------------------------------------------------------------- where it is kept


def test_images_are_mapped_and_not_read(copy: Path) -> None:
    """A byte that changes in the file changes in the tensor. Catches a load that reads everything, one that maps a
    private copy, which counts as memory that was promised, and torch's warning about arrays that cannot be written."""
    faces().add(copy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = faces().load("train").images
    before = int(images[-1, -1, -1, -1])
    with open(faces().file("train"), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([before ^ 1]))
    assert int(images[-1, -1, -1, -1]) == before ^ 1
    maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(faces().file("train")) in line]
    assert maps
    assert all(" r--s " in line for line in maps)  # shared, read-only


def test_the_suite_takes_a_mapped_tensor(copy: Path) -> None:
    """What training and the extractors do with it: a batch by index, chunks, a copy that may be written to."""
    faces().add(copy)
    images = faces().load("train").images
    batch = images[torch.tensor([3, 0, 3])].float() / 127.5 - 1
    assert torch.equal(batch[0], batch[2])
    features = EXTRACTORS.build("digits-cnn")(images[:, :1], 10)
    assert len(features) == 25
    assert torch.equal(features.values, EXTRACTORS.build("digits-cnn")(images[:, :1].clone(), 10).values)


def test_verify_finds_a_flipped_bit(copy: Path) -> None:
    """Catches a verify that compares the record with itself; loading has no way to notice, which is why it exists."""
    faces().add(copy)
    file = faces().file("test")
    data = bytearray(file.read_bytes())
    data[-8] ^= 1
    file.write_bytes(data)
    faces().load("test")
    with pytest.raises(InputError, match=r"test\.npy is damaged.*its SHA-256 is .* when it was added"):
        faces().verify()
    faces().add(copy)
    assert faces().verify() == faces().fingerprints


def test_a_truncated_or_missing_array_is_named(copy: Path) -> None:
    """Catches a map beyond the end of the file, which kills the process that reads there."""
    faces().add(copy)
    file = faces().file("train")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(
        InputError, match=r"train\.npy is damaged.*`replicate data add celebahq-256 PATH --set resolution=8`"
    ):
        faces().load("train")
    file.unlink()
    with pytest.raises(InputError, match=r"train\.npy is damaged"):
        faces().load("train")


def killed_after(images: int, copy: Path) -> int:
    """The signal that ended a process which added the copy, `images` images into it."""
    child = os.fork()
    if child == 0:
        count, read = 0, brought_module.read_photograph

        def counting(*given):
            nonlocal count
            count += 1
            if count > images:
                os.kill(os.getpid(), signal.SIGKILL)
            return read(*given)

        brought_module.read_photograph = counting
        faces().add(copy)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(("images", "kept"), [(10, True), (40, False)])
def test_killed_in_the_middle_and_repeated(copy: Path, images: int, kept: bool) -> None:
    """While it reads, what was there before stays; while it stores, nothing passes for whole. Catches: a record that is
    written first, a half array under its name, and one that stays for ever."""
    write_photographs(copy.parent / "before", 12, seed=7)
    faces().add(copy.parent / "before")
    before = faces().fingerprints
    assert killed_after(images, copy) == -signal.SIGKILL
    assert faces().present() == kept
    if kept:
        assert faces().verify() == before
    else:
        with pytest.raises(InputError, match="celebahq-256 is not here"):
            faces().load("train")
    faces().add(copy)
    assert faces().sizes == {"train": 25, "test": 5}
    assert faces().verify() == faces().fingerprints
    assert sorted(file.name for file in faces().folder.iterdir()) == [
        ".lock", "added.json", "test.npy", "train.npy",
    ]  # fmt: skip


def test_a_disk_that_is_too_small_is_named_first(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a disk that fills up for hours."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with pytest.raises(RunError, match=r"cannot write .*MB are needed"):
        faces().add(copy)


def test_an_object_from_before_does_not_take_what_was_added_since(copy: Path) -> None:
    """Catches a row under the key of a dataset that was not there."""
    early = faces()
    early.add(copy)
    with pytest.raises(InputError, match=r"added again meanwhile; if running again does not help"):
        early.load("train")


# ---------------------------------------------------------------- what is refused


def spoil_truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def spoil_text(file: Path) -> None:
    file.write_bytes(b"\x80\x04 a pickle, perhaps")


def spoil_small(file: Path) -> None:
    Image.new("RGB", (7, 90)).save(file, "PNG")


def spoil_deep(file: Path) -> None:
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(file, "PNG")


def spoil_bomb(file: Path) -> None:
    Image.new("1", (9000, 9000)).save(file, "PNG")


def spoil_great_bomb(file: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(file, "PNG")


def spoil_gif(file: Path) -> None:
    Image.new("RGB", (9, 9)).save(file, "GIF")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_truncated, "not a readable PNG, JPEG or WebP image"),
        (spoil_text, "not a readable PNG, JPEG or WebP image"),
        (spoil_gif, "not a readable PNG, JPEG or WebP image"),
        (spoil_small, "the image is 7x90, smaller than 8x8"),
        (spoil_deep, "has more than 8 bits"),
        (spoil_bomb, "9000x9000 is more than 67,108,864 pixels"),
        (spoil_great_bomb, "more than 67,108,864 pixels"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_one_bad_file_is_named_and_nothing_is_stored(copy: Path, spoil, message: str) -> None:
    """The first of two bad ones. Catches: a file that is skipped, enlarged or cut to 8 bits, and pixels that are decoded
    before their number is looked at."""
    files = sorted(copy.rglob("*.png"), key=lambda file: str(file))
    spoil(files[2])
    spoil(files[5])
    with pytest.raises(InputError, match=f"{files[2].name}: .*{message}|{files[2].name}: {message}"):
        faces().add(copy)
    assert not faces().present()
    assert not list(faces().folder.glob("*.npy"))


def empty(folder: Path) -> None:
    (folder / "LICENSE.txt").write_text("")


def few(folder: Path) -> None:
    write_photographs(folder, 9)


def lmdb(folder: Path) -> None:
    few(folder)
    (folder / "data.mdb").write_bytes(b"")


def no_train(folder: Path) -> None:
    write_photographs(folder / "val", 10)


def both(folder: Path) -> None:
    for split in ("train", "test", "val"):
        write_photographs(folder / split, 10)


def beside(folder: Path) -> None:
    write_photographs(folder / "train", 10)[0].rename(folder / "loose.png")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty, "holds no images; celebahq-256 can be added from a folder of PNG"),
        (few, "train has 9 images, at least 10 are needed"),
        (lmdb, r"data\.mdb: LSUN's lmdb is not read here; export its images"),
        (no_train, "has val/ and no train/"),
        (both, "has both test/ and val/"),
        (beside, r"loose\.png lies beside train/"),
        (lambda folder: folder.rmdir(), "does not exist; celebahq-256 can be added from"),
    ],
)
def test_a_folder_of_another_structure_is_refused(tmp_path: Path, make, message: str) -> None:
    (tmp_path / "copy").mkdir()
    make(tmp_path / "copy")
    with pytest.raises(InputError, match=message):
        faces().add(tmp_path / "copy")


def test_class_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Catches labels that mean one class in training and another in the test split."""
    names = [f"n0000000{k}" for k in range(4)]
    for name in names[:3]:
        write_photographs(tmp_path / "train" / name, 8)
        write_photographs(tmp_path / "test" / name, 8)
    with pytest.raises(InputError, match="train has 3 class folders, and there are 1,000 classes"):
        DATASETS.build("imagenet-256", resolution=8).add(tmp_path)
    (tmp_path / "test" / names[2]).rename(tmp_path / "test" / names[3])
    with pytest.raises(InputError, match=f"class folder '{names[2]}' is in one of the splits alone"):
        three_classes().add(tmp_path)
    (tmp_path / "test" / names[3] / "0" / "0-0.png").rename(tmp_path / "test" / "0.png")
    with pytest.raises(InputError, match=r"test/0\.png lies in no class folder"):
        three_classes().add(tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("imagenet-256", {"preprocessing": "none"}, "option 'preprocessing'"),
        ("ffhq-256", {"preprocessing": "bilinear"}, "option 'preprocessing'"),
        ("ffhq-256", {"resolution": 0}, "option 'resolution'"),
    ],
)
def test_options_that_no_set_has_are_refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DATASETS.build(name, **options)


# ---------------------------------------------------------------- experiments


def experiment(folder: Path, dataset: str, protocol: str) -> Path:
    """The tiny experiment on a dataset of 32x32 colour images; the published table keeps its own protocol."""
    start, stop = TOML.index("[profiles.cpu.protocol]"), TOML.index("[[profiles.cpu.rows]]")
    return write_tiny(
        folder,
        ('dataset = "digits"\nnetwork = "ddpm-digits"', f'dataset = {dataset}\nnetwork = "ddpm-cifar10"'),
        (TOML[start:stop], f'[profiles.cpu.protocol]\nname = "{protocol}"\nextractor = "cifar10-resnet"\n'),
    )


CELEBAHQ = '{ name = "celebahq-256", resolution = 32 }'
FOR_DIT = '{ name = "imagenet-256", resolution = 32, preprocessing = "box halving, bicubic, crop" }'


@pytest.mark.parametrize("name", NAMES)
def test_without_the_data_it_says_how_to_add_it(name: str) -> None:
    """Catches two absent sets that share a fingerprint, so that cells on them would share their keys."""
    dataset = DATASETS.build(name)
    assert not dataset.present()
    assert f"not here: `replicate data add {name} PATH`" in dataset.status()
    with pytest.raises(InputError, match=f"{name} is not here, .*`replicate data add {name} PATH`"):
        dataset.load("train")
    others = [DATASETS.build(name, resolution=512), *(DATASETS.build(other) for other in NAMES if other != name)]
    assert dataset.fingerprints["train"] not in {other.fingerprints["train"] for other in others}


def test_a_users_own_images_have_the_classes_and_captions_of_their_folders(tmp_path: Path) -> None:
    """Catches two sets in one folder, a message that adds another set than was asked for, and captions by number."""
    options = {"title": "pets", "classes": 2, "resolution": 8}
    own = DATASETS.build("own-images", **options)
    command = '`replicate data add own-images PATH --set title="pets" --set classes=2 --set resolution=8`'
    with pytest.raises(InputError, match=re.escape(command)):
        own.load("train")
    for name in ("cat", "old_dog"):
        write_photographs(tmp_path / "copy" / name, 10, seed=len(name))
    own.add(tmp_path / "copy")
    own = DATASETS.build("own-images", **options)
    assert own.classes == ("cat", "old_dog")
    assert own.captions[4:] == ("a photo of an old dog", "a picture that shows an old dog", "an old dog", "old dog")
    assert (own.sizes, own.load("test").images.shape) == ({"train": 18, "test": 2}, (2, 3, 8, 8))
    assert not DATASETS.build("own-images", **{**options, "title": "others"}).present()
    with pytest.raises(InputError, match="title is letters"):
        DATASETS.build("own-images", title="../pets")


def test_photographs_with_a_caption_beside_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training photograph i has caption i, in the canonical order and without what is held out. Catches captions in the order of
    files, those of held-out photographs among them, and a set added without them taken for one with them."""
    options = {"resolution": 8, "title": "coco"}
    files = write_photographs(tmp_path / "copy", 30)
    DATASETS.build("own-images", **options).add(tmp_path / "copy")
    own = DATASETS.build("own-images", **options, captioned=True)
    assert (own.present(), DATASETS.build("own-images", **options).present()) == (False, True)
    with pytest.raises(InputError, match=re.escape("--set captioned=true` adds a copy of yours")):
        own.ensure_captions()
    with pytest.raises(InputError, match=rf"{re.escape(str(tmp_path))}.* has no \S+\.txt beside it"):
        own.add(tmp_path / "copy")
    for file in files:
        file.with_suffix(".txt").write_text(f"  the file\n{file.name} ")
    (tmp_path / "copy" / "readme.txt").write_text("not a caption")
    capsys.readouterr()
    own.add(tmp_path / "copy")
    said = capsys.readouterr().out
    assert "readme.txt" in said
    assert files[0].with_suffix(".txt").name not in said
    own = DATASETS.build("own-images", **options, captioned=True)
    own.ensure_captions()
    train = own.load("train").images
    assert len(own.captions) == len(train) == 27
    by_name = {f"the file {file.name}": file for file in files}
    for caption, image in zip(own.captions, train, strict=True):
        assert np.array_equal(cropped(by_name[caption], 8), image.permute(1, 2, 0))
    labels, numbers = torch.zeros(30).long(), torch.arange(30)
    assert caption_numbers(labels, numbers, own).tolist() == [*range(27), 0, 1, 2]
    assert DATASETS.build("own-images", **options).captions == ()
    files[3].with_suffix(".txt").write_bytes(b" \n")
    with pytest.raises(InputError, match=r"\.txt: the caption is blank"):
        own.add(tmp_path / "copy")
    files[3].with_suffix(".txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"\.txt: no caption in UTF-8"):
        own.add(tmp_path / "copy")
    assert own.load("train").images.equal(train)
    with pytest.raises(InputError, match="captioned photographs have no classes, and classes is 2"):
        DATASETS.build("own-images", classes=2, captioned=True)


def test_the_command_of_a_variant_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the message says is what works."""
    for k in range(1000):
        (tmp_path / "copy" / f"n{k:08}").mkdir(parents=True)
        Image.new("RGB", (9, 8), (k % 256, 0, 0)).save(tmp_path / "copy" / f"n{k:08}" / "0.png", compress_level=0)
    options = {"resolution": 8, "preprocessing": "box halving, bicubic, crop"}
    with pytest.raises(InputError, match='--set resolution=8 --set preprocessing="box halving, bicubic, crop"`'):
        DATASETS.build("imagenet-256", **options).load("train")
    sets = ["--set", "resolution=8", "--set", f"preprocessing={options['preprocessing']}"]
    assert main(["data", "add", "imagenet-256", str(tmp_path / "copy"), *sets]) == 0
    assert main(["data", "verify", "imagenet-256", *sets]) == 0
    assert DATASETS.build("imagenet-256", **options).fingerprints["train"] in capsys.readouterr().out


@pytest.mark.parametrize(("dataset", "protocol"), [(CELEBAHQ, "ldm-2022"), (FOR_DIT, "dit-2023")])
def test_a_paper_s_protocol_is_met_and_planned_without_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dataset: str, protocol: str
) -> None:
    """Catches a check that refuses every preprocessing, and a key that needs the data."""
    monkeypatch.setenv("REPLICATION_HOME", str(tmp_path / "state"))
    path = experiment(tmp_path, dataset, protocol)
    cells = cells_of(load_experiment(str(path)), "cpu")
    assert {cell.columns["protocol.preprocessing"] for cell in cells} == {cells[0].recipe.build_dataset().preprocessing}
    assert main(["plan", str(path)]) == 0
    assert capsys.readouterr().out.count("to run") == len(cells) == 3


@pytest.mark.parametrize(
    ("dataset", "protocol", "message"),
    [
        (CELEBAHQ, "dit-2023", "'box halving, bicubic, crop': celebahq-256 is stored at 32x32, prepared otherwise; 'crop, bicubic' is"),
        (FOR_DIT, "ldm-2022", "'crop, bicubic': imagenet-256 is stored at 32x32, prepared otherwise; 'box halving, bicubic, crop' is"),
        (CELEBAHQ, "suite", "'none': celebahq-256 is stored at 32x32, prepared otherwise; 'crop, bicubic' is what it takes"),
    ],
)  # fmt: skip
def test_unequal_preprocessing_is_refused_and_both_are_named(
    tmp_path: Path, dataset: str, protocol: str, message: str
) -> None:
    """Catches a cell of LDM's protocol on images prepared for DiT's, and the reverse."""
    with pytest.raises(InputError, match=message):
        cells_of(load_experiment(str(experiment(tmp_path, dataset, protocol))), "cpu")


def test_another_copy_is_another_key(tmp_path: Path) -> None:
    """Catches a checkpoint of one user's faces that passes for one of another's."""
    path = experiment(tmp_path, CELEBAHQ, "ldm-2022")
    keys = [cells_of(load_experiment(str(path)), "cpu")[0].recipe.key]
    for seed in (1, 2):
        write_photographs(tmp_path / str(seed), 12, seed, smallest=32)
        DATASETS.build("celebahq-256", resolution=32).add(tmp_path / str(seed))
        keys.append(cells_of(load_experiment(str(path)), "cpu")[0].recipe.key)
    assert len(set(keys)) == 3
