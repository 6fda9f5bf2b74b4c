"""Folders of synthetic photographs in odd sizes and every format, and how one file becomes a square, once more.

The expected pixels are computed here by Pillow alone, step by step, and never by the code under test.
"""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

FORMS = {".png": "PNG", ".JPEG": "JPEG", ".jpg": "JPEG", ".webp": "WEBP"}


def write_photographs(folder: Path, n: int, seed: int = 0, smallest: int = 8) -> list[Path]:
    """n files in subfolders of two, of every format, each side in smallest..5*smallest, some of them grey."""
    rng = np.random.default_rng(seed)
    files = []
    for i in range(n):
        height, width = rng.integers(smallest, 5 * smallest, 2)
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((int(width), int(height)), Image.Resampling.BILINEAR)
        suffix = list(FORMS)[i % len(FORMS)]
        file = folder / str(i // 2) / f"{seed}-{i}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        (image.convert("L") if i % 5 == 4 and suffix != ".webp" else image).save(file, FORMS[suffix])
        files.append(file)
    return files


def cropped(file: Path, side: int) -> np.ndarray:
    """LDM's LSUN loader: the square by slicing the array, then one bicubic resize."""
    pixels = np.array(Image.open(file).convert("RGB"))
    height, width = pixels.shape[:2]
    least = min(height, width)
    y, x = (height - least) // 2, (width - least) // 2
    square = Image.fromarray(pixels[y : y + least, x : x + least])
    return np.array(square.resize((side, side), resample=Image.Resampling.BICUBIC))


def halved(file: Path, side: int) -> np.ndarray:
    """ADM's and DiT's: box halvings, bicubic to the shorter side, and only then the square by slicing."""
    image = Image.open(file).convert("RGB")
    while min(*image.size) >= 2 * side:
        image = image.resize(tuple(x // 2 for x in image.size), resample=Image.Resampling.BOX)
    scale = side / min(*image.size)
    pixels = np.array(image.resize(tuple(round(x * scale) for x in image.size), resample=Image.Resampling.BICUBIC))
    y, x = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[y : y + side, x : x + side]


def records_in_order(pairs: list[tuple[int, np.ndarray]]) -> list[tuple[int, np.ndarray]]:
    """Word for word: by label, then by SHA-256 of `label in two bytes + HWC bytes`."""

    def place(pair: tuple[int, np.ndarray]) -> tuple[int, bytes]:
        return pair[0], hashlib.sha256(as_record(pair)).digest()

    return sorted(pairs, key=place)


def as_record(pair: tuple[int, np.ndarray]) -> bytes:
    return bytes([pair[0] // 256, pair[0] % 256]) + pair[1].tobytes()


def expected_print(pairs: list[tuple[int, np.ndarray]]) -> str:
    return hashlib.sha256(b"".join(map(as_record, records_in_order(pairs)))).hexdigest()
