"""`digits-cnn`: the embedded extractor of 8x8 grey digits, a small classifier. Its distances are FD-digits, never FID.

`python -m replication.metrics.training digits-cnn` trains it; weights/digits-cnn.md has its accuracy.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from replication.metrics.extractor import EmbeddedExtractor
from replication.pixels import to_signed
from replication.registry import EXTRACTORS


class DigitsCNN(nn.Module):
    """uint8 [B,1,8,8] -> (values [B,64], logits [B,10], spatial [B,112]); the logits are linear in the values.

    The spatial features are the first seven channels of the last map of 4x4, as sFID takes seven of Inception's.

    The values are standardised to variance 1 over training digits: KID's kernel (a.b / D + 1)^3 is balanced for
    features of that size, and is all cube, hence all noise, for larger ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in [(1, 32), (32, 32), (32, 64)])
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in (32, 32, 64))
        self.hidden = nn.Linear(64 * 4 * 4, 64)
        self.standardise = nn.BatchNorm1d(64, affine=False)
        self.classes = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = to_signed(images)  # [B,1,8,8] in [-1, 1]
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            h = F.silu(norm(convolution(h)))
            h = F.max_pool2d(h, 2) if i == 1 else h  # [B,64,4,4] in the end
        values = self.standardise(F.silu(self.hidden(h.flatten(1))))  # [B,64]
        return values, self.classes(values), h[:, :7].flatten(1)


@EXTRACTORS.register("digits-cnn")
class DigitsExtractor(EmbeddedExtractor):
    """FD-digits, of 8x8 grey: a classifier of the suite's own, weights in the package."""

    name, family, classifies = "digits-cnn", "digits", "digits"
    sha256 = "365d798d941b65855d37b0878caef55c306826f779c33f6ae8835047abb7b642"
    classifier, shape = DigitsCNN, (1, 8, 8)
