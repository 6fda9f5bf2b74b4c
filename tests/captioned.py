"""A user's own photographs, each with its caption beside it, as `own-images` takes them with captioned = true."""

from pathlib import Path

import numpy as np
from PIL import Image

from replication.cli import main


def add_captioned(folder: Path, caption: str, side: int = 32, n: int = 12) -> None:
    """Write n images of noise into a folder, each with that caption, and take them in."""
    folder.mkdir()
    for i, pixels in enumerate(np.random.default_rng(5).integers(0, 256, (n, side, side, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(caption)
    assert (
        main(["data", "add", "own-images", str(folder), "--set", f"resolution={side}", "--set", "captioned=true"]) == 0
    )
