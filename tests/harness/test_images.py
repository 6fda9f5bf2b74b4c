"""Images from elsewhere: every kind of file gives the same ones, and what cannot be read whole is refused by name."""

import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from replication.harness.forensics.base import Wishes, base_of
from replication.harness.images import ImageSet, open_images
from replication.harness.subjects import check_shape, dataset_of, subject_of_images
from replication.registry import DATASETS
from replication.types import InputError


@pytest.fixture
def digits() -> torch.Tensor:
    """uint8 [40,1,8,8]: real images that stand for samples from elsewhere."""
    return DATASETS.build("digits").load("test").images[:40]


def read(path: Path) -> torch.Tensor:
    return torch.cat(list(open_images(path).batches()))


def pictures(folder: Path, images: torch.Tensor, suffix: str = ".png", format: str = "PNG") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(folder / f"{i:03}{suffix}", format=format)
    return folder


def zipped(path: Path, folder: Path, below: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{below}{file.relative_to(folder)}")
    return path


def chunks(folder: Path, images: torch.Tensor, *bounds: tuple[int, int]) -> Path:
    folder.mkdir()
    for start, stop in bounds:
        path = folder / f"{start:07}-{stop:07}.safetensors"
        save_file({"images": images[start:stop].contiguous()}, path, {"metadata": "{}"})
    return folder


# ---------------------------------------------------------------- what is read


def test_every_kind_of_file_gives_the_same_images(tmp_path: Path, digits: torch.Tensor) -> None:
    """Catches: channels in another place, files in another order, a shape that only some readers state."""
    folder = pictures(tmp_path / "png", digits)
    zipped(tmp_path / "flat.zip", folder)
    zipped(tmp_path / "below.zip", folder, "samples/")
    array = digits.permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "a.npz", arr_0=array, arr_1=np.arange(40))
    np.savez_compressed(tmp_path / "b.npz", images=array)
    chunks(tmp_path / "chunks", digits, (0, 30), (30, 40))
    for name in ("png", "flat.zip", "below.zip", "a.npz", "b.npz", "chunks"):
        assert open_images(tmp_path / name).shape == (40, 1, 8, 8), name
        assert torch.equal(read(tmp_path / name), digits), name
    assert torch.equal(read(tmp_path / "chunks" / "0000000-0000030.safetensors"), digits[:30])


def test_more_images_than_a_batch_stay_in_order(tmp_path: Path) -> None:
    """600 images whose pixels count them. Catches: a batch left out, doubled, or cut at another place."""
    counted = torch.arange(600).to(torch.int16).view(torch.uint8).reshape(600, 1, 1, 2).contiguous()
    np.savez_compressed(tmp_path / "a.npz", arr_0=counted.permute(0, 2, 3, 1).numpy())
    folder = pictures(tmp_path / "png", counted)
    for path in (tmp_path / "a.npz", folder, zipped(tmp_path / "a.zip", folder)):
        pieces = list(open_images(path).batches())
        assert [len(piece) for piece in pieces] == [256, 256, 88]
        assert torch.equal(torch.cat(pieces), counted)


def test_chunks_of_a_sample_set(tmp_path: Path, digits: torch.Tensor) -> None:
    folder = chunks(tmp_path / "chunks", digits, (0, 30), (30, 40))
    first, last = sorted(folder.glob("*.safetensors"))
    copy = first.with_name(f"{first.stem} (conflicted copy).safetensors")
    copy.write_bytes(first.read_bytes())
    assert torch.equal(read(folder), digits)  # a sync tool's copy is passed over
    assert open_images(folder).not_read == [copy.name]
    last.rename(last.with_name("0000900-0000901.safetensors"))
    with pytest.raises(InputError, match="after image 29 this one begins with 900"):
        read(folder)


def test_what_is_not_read_is_named_and_hidden_files_are_not(tmp_path: Path, digits: torch.Tensor) -> None:
    """Catches: files left out without a word, macOS's ._ files counted, a name that is not UTF-8 and breaks the print."""
    folder = pictures(tmp_path / "a", digits)
    assert open_images(folder).passed_over == ""
    for name in ("notes.txt", b"lisez-moi \xe9.txt".decode(errors="surrogateescape"), "._000.jpg", ".DS_Store"):
        (folder / name).write_text("hello")
    (folder / "more").mkdir()
    assert open_images(folder).passed_over == r"3 files were not read: lisez-moi \xe9.txt, more/, notes.txt"
    assert open_images(folder).n == 40
    with zipfile.ZipFile(zipped(tmp_path / "a.zip", pictures(tmp_path / "b", digits)), "a") as archive:
        archive.writestr("__MACOSX/._000.png", "Mac OS X")
        archive.writestr("dataset.json", "{}")
    assert open_images(tmp_path / "a.zip").passed_over == "1 file was not read: dataset.json"


def test_a_file_of_anybody_s_is_a_chunk(tmp_path: Path, digits: torch.Tensor) -> None:
    """Without metadata of this suite. Catches: a user's file called corrupt, and the advice to delete it."""
    save_file({"images": digits}, tmp_path / "mine.safetensors")
    assert torch.equal(read(tmp_path / "mine.safetensors"), digits)
    assert base_of(str(tmp_path / "mine.safetensors"), Wishes()).n == 40


def test_the_content_tells_a_jpeg(tmp_path: Path, digits: torch.Tensor) -> None:
    """Catches: the format by the file's name, in a folder or an archive."""
    named = pictures(tmp_path / "named", digits, ".jpg", "JPEG")
    disguised = pictures(tmp_path / "disguised", digits, ".png", "JPEG")
    for path in (named, disguised, zipped(tmp_path / "a.zip", disguised)):
        assert open_images(path).jpegs == 40
    assert open_images(pictures(tmp_path / "png", digits, ".jpg", "PNG")).jpegs == 0
    assert torch.equal(read(tmp_path / "png"), digits)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_an_orientation_in_exif_is_said(tmp_path: Path, digits: torch.Tensor) -> None:
    """Catches: photographs that lie on their side without a word; a block of EXIF that is damaged and ends it all."""
    folder, exif = pictures(tmp_path / "a", digits, ".jpg", "JPEG"), Image.Exif()
    for orientation, name in ((1, "000.jpg"), (6, "001.jpg"), (8, "002.jpg")):
        exif[0x0112] = orientation
        Image.open(folder / name).copy().save(folder / name, exif=exif.tobytes())
    Image.open(folder / "003.jpg").copy().save(folder / "003.jpg", exif=b"Exif\0\0MM\0*\xff")
    assert open_images(folder).jpegs == 40
    assert open_images(folder).lying.startswith("2 have an orientation in EXIF, which is not applied")
    assert any("2 have an orientation" in note for note in subject_of_images(folder).notes)


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path, digits: torch.Tensor) -> None:
    """Catches: features of another set taken from the cache; a set that is measured anew because it was moved."""
    one, same = pictures(tmp_path / "one", digits), pictures(tmp_path / "same", digits)
    assert open_images(one).fingerprint == open_images(same).fingerprint
    pictures(same, digits.flip(0))
    assert open_images(one).fingerprint != open_images(same).fingerprint


# ---------------------------------------------------------------- what is refused


def _npz(path: Path, **arrays: np.ndarray) -> None:
    np.savez(path, **arrays)


def _grey(n: int, side: int = 8, channels: int = 1) -> np.ndarray:
    return np.zeros((n, side, side, channels), dtype=np.uint8)


def _shaped(path: Path, shape: tuple[int, ...]) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", header.getvalue() + bytes(64))


def _bare(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, _grey(12))


def _spoilt(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 9, (64, 8, 8, 1), dtype=np.uint8)
    np.savez_compressed(path, arr_0=noise)
    content = bytearray(path.read_bytes())
    content[200:260] = b"\xff" * 60
    path.write_bytes(content)


def _member(path: Path, name: str, content: bytes, count: int = 12) -> None:
    good = io.BytesIO()
    Image.new("L", (8, 8)).save(good, format="PNG")
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(count):
            archive.writestr(f"{i:02}.png", good.getvalue())
        archive.writestr(name, content)


def _locked(path: Path) -> None:
    _member(path, "notes.txt", b"")
    _lock(path)


def _lock(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the bit that says so, in both headers of every member
        at = content.find(signature)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(signature, at + 1)
    path.write_bytes(content)


def _twice(path: Path, name: str) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        for _ in range(2):
            archive.writestr(name, b"")


def _bomb(path: Path) -> None:
    """A quarter of a gigabyte of zeros, in 260 KB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("00.png", "w") as member:
        for _ in range(257):
            member.write(bytes(1 << 20))


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "none": (lambda p: None, "there is no such file or folder"),
    "few.npz": (lambda p: _npz(p, arr_0=_grey(9)), "holds 9 images, at least 10"),
    "floats.npz": (lambda p: _npz(p, arr_0=_grey(12).astype(np.float32)), "must be uint8.*must be quantised first"),
    "flat.npz": (lambda p: _npz(p, arr_0=_grey(12)[0]), "must be uint8"),
    "other.npz": (lambda p: _npz(p, images=_grey(12), labels=_grey(12)), "no array 'arr_0'"),
    "objects.npz": (lambda p: _npz(p, arr_0=np.array([{}] * 12, dtype=object)), "must be uint8 .*it is object"),
    "columns.npz": (lambda p: _npz(p, arr_0=np.asfortranarray(_grey(12))), "column by column"),
    "channels.npz": (lambda p: _npz(p, arr_0=_grey(12, channels=2)), "1 or 3 channels"),
    "cut.npz": (lambda p: (_npz(p, arr_0=_grey(12)), p.write_bytes(p.read_bytes()[:200])), "this .npz is damaged"),
    "transposed.npz": (lambda p: _npz(p, arr_0=_grey(12, channels=3).transpose(0, 3, 1, 2)), r"transpose\(0, 2, 3, 1\)"),
    "no-axis.npz": (lambda p: _npz(p, arr_0=_grey(12)[..., 0]), r"save array\[\.\.\., None\]"),
    "wide.npz": (lambda p: _npz(p, arr_0=_grey(12).astype(np.int64)), "0 to 255, as uint8"),
    "none.npz": (lambda p: _npz(p, arr_0=_grey(12)[:, :0]), "there are no images in it"),
    "double.npz": (lambda p: _twice(p, "arr_0.npy"), "arr_0.npy is in this archive more than once"),
    "secret.npz": (lambda p: (_npz(p, arr_0=_grey(12)), _lock(p)), "arr_0 needs a password"),
    "pictures.npz": (lambda p: _member(p, "12.png", b""), "holds pictures and no array, as a ZIP does: give it the suffix .zip"),
    "named.npz": (lambda p: _member(p, "notes.txt", b""), "no array 'arr_0', it holds 00.png, 01.png, 02.png, ..."),
    "bools.npz": (lambda p: _shaped(p, (True, 8, 8, 1)), "this .npz is damaged, or is none"),
    "bare.npz": (_bare, "is no archive but a single array; save it with numpy.savez"),
    "spoilt.npz": (_spoilt, "this .npz is damaged"),
    "page.npz": (lambda p: p.write_text("<!DOCTYPE html>"), "its content is a page of HTML, perhaps in the place"),
    "webp.zip": (lambda p: _member(p, "00.jpg", b"RIFF....WEBPVP8 "), r"00\.jpg: not a readable .* \(its content is WebP\)"),
    "lfs.safetensors": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"), "`git lfs pull` fetches"),
    "text.zip": (lambda p: p.write_text("hello"), "this ZIP is damaged, or is none"),
    "no-image.zip": (lambda p: _member(p, "12.png", b"hello"), "12.png: not a readable PNG or JPEG image"),
    "bitmap.zip": (lambda p: _member(p, "12.bmp", b"hello"), "1 BMP; the first is 12.bmp"),
    "classes.zip": (lambda p: _member(p, "dog/1.png", b"hello"), r"lie in 2 folders \(., dog\)"),
    "empty.zip": (lambda p: _member(p, "notes.txt", b"", 0), "there are no images in this archive"),
    "double.zip": (lambda p: _twice(p, "0.png"), "0.png is in this archive more than once"),
    "nested.zip": (lambda p: _member(p, "inner.zip", b"PK", 0), "no images in this archive, it holds inner.zip"),
    "bomb.zip": (_bomb, "00.png: more than 268,435,456 bytes"),
    "locked.zip": (_locked, "00.png needs a password"),
    "text.txt": (lambda p: p.write_text("hello"), "images are read from a folder or a ZIP"),
    "cut.safetensors": (lambda p: p.write_bytes(b"\x10\0\0\0\0\0\0\0{}"), "damaged, or is none"),
    "neither.safetensors": (
        lambda p: save_file({"x": torch.zeros(3)}, p, {"metadata": json.dumps({})}), "holds no tensor 'images'",
    ),
    "floats.safetensors": (
        lambda p: save_file({"images": torch.zeros(12, 1, 8, 8)}, p, {"metadata": "{}"}), "must be uint8 .*F32",
    ),
    "empty": (lambda p: p.mkdir(), "there are no images in this folder; images are read from"),
    "folder": (lambda p: pictures(p / "cat", torch.zeros(12, 1, 8, 8, dtype=torch.uint8)), r"sub-folders hold 12 \(cat\):"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    make, message = WRONG[name]
    make(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / name)
    assert name in str(caught.value)


def test_a_header_of_terabytes_is_read_and_nothing_else(tmp_path: Path) -> None:
    """200 bytes that promise two terabytes: refused by their shape, and where nobody asks for one, as damaged."""
    header = io.BytesIO()
    promised = {"descr": "|u1", "fortran_order": False, "shape": (10**7, 256, 256, 3)}
    np.lib.format.write_array_header_1_0(header, promised)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("arr_0.npy", header.getvalue())
    images = open_images(tmp_path / "a.npz")
    with pytest.raises(InputError, match=r"images are \[3, 256, 256\], those of digits are \[1, 8, 8\]"):
        check_shape(images, (1, 8, 8), "digits")
    with pytest.raises(InputError, match="has 128 bytes and its header states 1,966,080,000,128"):
        next(images.batches())


def test_unlike_pictures_of_a_folder_are_refused(tmp_path: Path, digits: torch.Tensor) -> None:
    folder = pictures(tmp_path / "mixed", digits)
    for picture, message in (
        (Image.new("L", (9, 8)), r"05\.png: is 9x8 with 1 channel, 000\.png is 8x8 with 1 channel; a set has one size"),
        (Image.new("RGB", (8, 8)), r"05\.png: is 8x8 with 3 channels"),
        (Image.new("RGBA", (8, 8)), r"05\.png: mode RGBA"),
        (Image.new("I;16", (8, 8)), r"05\.png: mode I;16 has more than 8 bits"),
    ):
        picture.save(folder / "005.png")
        with pytest.raises(InputError, match=message):
            read(folder)
    (folder / "005.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"05\.png: not a readable PNG or JPEG"):
        read(folder)


def test_other_formats_beside_them_are_refused(tmp_path: Path, digits: torch.Tensor) -> None:
    """Catches: a third of the set left out without a word."""
    folder = pictures(tmp_path / "a", digits[:30])
    pictures(tmp_path / "b", digits[:2], ".bmp", "BMP")
    (tmp_path / "b" / "001.bmp").rename(folder / "031.bmp")
    (tmp_path / "b" / "000.bmp").rename(folder / "030.webp")
    with pytest.raises(InputError, match=r"\(1 BMP, 1 WEBP; the first is 030.webp\): save them as PNG"):
        open_images(folder)


def test_sixteen_bits_of_colour_are_not_cut_to_eight(tmp_path: Path) -> None:
    """A PNG by hand, which Pillow opens as RGB of 8 bits. Catches: half of the content thrown away without a word."""

    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = (b"\0" + struct.pack(">H", 0x01FF) * 24) * 8
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    for i in range(12):
        content = b"\x89PNG\r\n\x1a\n" + b"".join(part(*one) for one in parts)
        (tmp_path / f"{i}.png").write_bytes(content)
    with pytest.raises(InputError, match=r"0\.png: .* more than 8 bits for each channel"):
        open_images(tmp_path)


def test_animations_and_transparent_pixels_are_refused(tmp_path: Path) -> None:
    """Catches: the first frame taken for the image, and colours that nobody was to see."""
    frames = [Image.new("L", (8, 8), shade) for shade in range(12)]
    frames[0].save(tmp_path / "0.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"0\.png: an animation of 12 images"):
        open_images(tmp_path)
    frames[0].save(tmp_path / "0.png", transparency=0)
    with pytest.raises(InputError, match=r"0\.png: mode L with transparent pixels; .*flatten it"):
        open_images(tmp_path)


def test_grey_images_that_were_saved_in_colour_are_explained(tmp_path: Path, digits: torch.Tensor) -> None:
    """As torchvision's save_image writes them. Catches: a refusal that leaves the reason to be guessed."""

    def refused(images: ImageSet) -> list[str]:
        messages = []
        for work in (lambda: dataset_of(images, None, "--reference"), lambda: check_shape(images, (1, 8, 8), "digits")):
            with pytest.raises(InputError) as caught:
                work()
            messages.append(str(caught.value))
        return messages

    grey = open_images(pictures(tmp_path / "grey", digits.expand(-1, 3, -1, -1)))
    colour = open_images(pictures(tmp_path / "colour", torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8)))
    assert all("the three channels of these images are equal" in message for message in refused(grey))
    assert not any("equal" in message for message in refused(colour))
