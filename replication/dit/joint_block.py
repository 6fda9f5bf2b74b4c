"""The joint block of MM-DiT: Esser et al. 2024 (Stable Diffusion 3, arXiv:2403.03206), section 4 and figure 2.

Image and text are two streams with weights of their own, modulated by the same vector; they meet in one attention over
both sequences. The last block's text stream only lends its keys and values: nothing reads it any more.
"""

import torch
from torch import Tensor, nn

from replication.dit.attention import attend, make_qk_norm, split_heads
from replication.dit.feed_forward import FeedForward
from replication.dit.modulation import Modulation, gated, modulate, plain_norm


class LendingStream(nn.Module):
    """The half of a joint block that brings queries, keys and values to the attention, and takes nothing from it."""

    modulated = 2

    def __init__(self, width: int, heads: int, qk_norm: bool):
        super().__init__()
        self.heads, self.qk_norm = heads, make_qk_norm(width, heads, qk_norm)
        self.modulation = Modulation(width, self.modulated)
        self.norm1, self.qkv = plain_norm(width), nn.Linear(width, 3 * width)

    def initialise(self) -> None:
        self.modulation.initialise_zero()

    def brought(self, x: Tensor, shift: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of x [B,N,width], each [B,heads,N,width/heads]."""
        q, k, v = split_heads(self.qkv(modulate(self.norm1(x), shift, scale)), self.heads, 3)
        if self.qk_norm is not None:
            q, k = self.qk_norm(q, k)
        return q, k, v

    def received(self, x: Tensor, attended: Tensor, told: list[Tensor]) -> Tensor:
        """x after its share of the attention, [B,N,width]; told: what the modulation says beyond shift and scale."""
        return x


class Stream(LendingStream):
    """The half of a modality that goes on: its share of the attention, then two layers of its own, gated as in DiT."""

    modulated = 6

    def __init__(self, width: int, heads: int, qk_norm: bool):
        super().__init__(width, heads, qk_norm)
        self.out, self.norm2, self.mlp = nn.Linear(width, width), plain_norm(width), FeedForward(width)

    def received(self, x: Tensor, attended: Tensor, told: list[Tensor]) -> Tensor:
        gate1, shift2, scale2, gate2 = told
        x = gated(x, gate1, self.out(attended))
        return gated(x, gate2, self.mlp(modulate(self.norm2(x), shift2, scale2)))


class JointBlock(nn.Module):
    """image [B,N,width], text [B,L,width], vector [B,width] -> (image, text)."""

    def __init__(self, width: int, heads: int, qk_norm: bool, last: bool):
        super().__init__()
        self.image = Stream(width, heads, qk_norm)
        self.text = (LendingStream if last else Stream)(width, heads, qk_norm)

    def forward(self, image: Tensor, text: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        image_shift, image_scale, *image_told = self.image.modulation(vector)
        text_shift, text_scale, *text_told = self.text.modulation(vector)
        of_image = self.image.brought(image, image_shift, image_scale)
        of_text = self.text.brought(text, text_shift, text_scale)
        attended = attend(*(torch.cat(pair, dim=2) for pair in zip(of_image, of_text, strict=True)))
        n = image.shape[1]
        return (
            self.image.received(image, attended[:, :n], image_told),
            self.text.received(text, attended[:, n:], text_told),
        )
