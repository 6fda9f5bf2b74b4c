"""What Pillow makes of images, from which extractors' own resizing is tested."""

import numpy as np
import torch
from PIL import Image


def resized(images: torch.Tensor, side: int) -> torch.Tensor:
    """uint8 [N,3,H,W] -> float32 [N,3,side,side], levels 0..255."""
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    bicubic = [np.array(picture.resize((side, side), Image.Resampling.BICUBIC)) for picture in pictures]
    return torch.from_numpy(np.stack(bicubic)).permute(0, 3, 1, 2).float()
