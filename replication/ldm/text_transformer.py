"""The text model that the paper trains together with its U-Net (section 4.3.1, appendix E.2.1): tokens -> context.

Token and position embeddings (normal, standard deviation 0.02), pre-norm transformer blocks in which every token attends
to all, a norm at the end. Padding is token 0, attended to like any other, as the official code has it: a text of
padding alone says nothing. The official model has 32 blocks of width 1280 for 77 BERT tokens, its 8 heads 64 channels
each; here the heads share the width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.layers.encoder import Encoder, check_numbers
from replication.ldm.cross_attention import CrossAttention
from replication.types import InputError

SPREAD = 0.02


class TextBlock(nn.Module):
    """[B,L,width] -> [B,L,width]: self-attention, then a feed-forward of 4*width channels with GELU, both pre-norm."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CrossAttention(width, width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.attention(h, h)
        return x + self.contract(F.gelu(self.expand(self.norm2(x))))


class TextTransformer(Encoder):
    """Tokens Int[B,length], each below `vocabulary` and 0 padding -> context Float[B,length,width]."""

    needs = "the tokens of a text for every image"

    def __init__(self, vocabulary: int, length: int, width: int, layers: int, heads: int):
        super().__init__(length, width=width)
        self.vocabulary, self.length = vocabulary, length
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.empty(length, width))
        self.blocks = nn.ModuleList(TextBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for table in (self.token.weight, self.position):
            nn.init.normal_(table, std=SPREAD)

    def check(self, cond: Tensor) -> None:
        check_numbers("tokens", cond, 2, self.vocabulary - 1, "0 is padding")

    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.shape[1:] != (self.length,):
            raise InputError(f"cond: this network takes tokens Int[B,{self.length}], not Int{list(tokens.shape)}")
        h = self.token(tokens) + self.position
        for block in self.blocks:
            h = block(h)
        return self.norm(h)
