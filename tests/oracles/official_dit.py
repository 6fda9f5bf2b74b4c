"""DiT's arithmetic under the tensor names of its official code (facebookresearch/DiT ed81ce2, models.py), written for this suite.

SiT's network is the same (willisma/SiT, models.py); it passes t itself to the embedding and gives the first half of the output.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.check.models import randomize


def _positions(side: int, width: int) -> Tensor:
    """[side^2, width]: the column's sines and cosines, then the row's."""
    omega = 10000 ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    row, column = torch.meshgrid(torch.arange(side).double(), torch.arange(side).double(), indexing="ij")
    halves = [torch.cat([a.sin(), a.cos()], 1) for a in (column.reshape(-1, 1) * omega, row.reshape(-1, 1) * omega)]
    return torch.cat(halves, 1).float()


class _Embedder(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        angles = t[:, None].float() * torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(128) / 128)
        embedded: Tensor = self.mlp(torch.cat([angles.cos(), angles.sin()], 1))
        return embedded


class _Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(c)[:, None].chunk(6, 2)
        y = F.layer_norm(x, x.shape[2:], eps=1e-6) * (1 + scale1) + shift1
        b, n, width = y.shape
        q, k, v = self.attn["qkv"](y).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = ((q @ k.mT) * q.shape[-1] ** -0.5).softmax(-1) @ v
        x = x + gate1 * self.attn["proj"](attended.transpose(1, 2).reshape(b, n, width))
        y = F.layer_norm(x, x.shape[2:], eps=1e-6) * (1 + scale2) + shift2
        answer: Tensor = x + gate2 * self.mlp["fc2"](F.gelu(self.mlp["fc1"](y), approximate="tanh"))
        return answer


class OfficialDiT(nn.Module):
    def __init__(
        self, resolution: int, classes: int, depth: int, width: int, heads: int, patch: int = 2, channels: int = 4
    ):
        super().__init__()
        self.patch, self.side = patch, resolution // patch
        self.x_embedder = nn.ModuleDict({"proj": nn.Conv2d(channels, width, patch, patch)})
        self.t_embedder = _Embedder(width)
        self.y_embedder = nn.ModuleDict({"embedding_table": nn.Embedding(classes + 1, width)})
        self.pos_embed = nn.Parameter(_positions(self.side, width)[None], requires_grad=False)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        final = {"linear": nn.Linear(width, patch * patch * 2 * channels)}
        self.final_layer = nn.ModuleDict(final)
        self.final_layer["adaLN_modulation"] = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        tokens = self.x_embedder["proj"](x).flatten(2).transpose(1, 2) + self.pos_embed
        c = self.t_embedder(t) + self.y_embedder["embedding_table"](y)
        for block in self.blocks:
            tokens = block(tokens, c)
        shift, scale = self.final_layer["adaLN_modulation"](c)[:, None].chunk(2, 2)
        tokens = F.layer_norm(tokens, tokens.shape[2:], eps=1e-6) * (1 + scale) + shift
        patches = (
            self.final_layer["linear"](tokens).unflatten(2, (self.patch, self.patch, -1)).unflatten(1, (self.side, -1))
        )
        answer: Tensor = patches.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return answer


def official_dit(seed: int = 0, **options: int) -> OfficialDiT:
    """With random weights everywhere but in the positions."""
    network = OfficialDiT(**options).eval()
    positions = network.pos_embed.data.clone()
    randomize(network, seed)
    network.pos_embed.data.copy_(positions)
    return network
