"""The training of `cifar10-resnet`: half an hour on one core with bfloat16 products.

What lets few epochs suffice is Jordan's ("94 % on CIFAR-10 in 3.29 seconds on a single GPU", 2024): a first layer that
whitens patches, widening convolutions that start as the identity, norms without scales whose biases learn 64 times
faster, a triangular learning rate, and mirroring in each other epoch. The skip connections and the widths are not.
"""

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from replication.metrics.extractors.cifar10_resnet import PATCH, WIDTHS, Block, CIFAR10ResNet
from replication.metrics.training.loop import ExtractorTraining, alternately_flipped, shifted
from replication.pixels import to_signed

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, BIAS_FACTOR, SMOOTHING = 0.73, 0.85, 1.3e-3, 64, 0.1
FLOOR = 1e-3  # variance that whitening adds to every direction
START, PEAK, END = 0.2, 0.2, 0.02  # of the learning rate: its first share, when it is whole (share of steps), its last


def whitening(images: Tensor) -> Tensor:
    """Filters [2K,C,P,P] that decorrelate the K = C P^2 values of a patch to variance 1, each beside its negative.

    The patches are those of uint8 images [N,C,H,W] at even places, scaled to [-1, 1]; a direction of variance below
    FLOOR stays small.
    """
    patches = to_signed(images).unfold(2, PATCH, 2).unfold(3, PATCH, 2)  # [N,C,h,w,P,P]
    vectors = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1] * PATCH**2).double()
    variances, directions = torch.linalg.eigh(vectors.T @ vectors / len(vectors))
    filters = (directions / (variances + FLOOR).sqrt()).T.reshape(-1, images.shape[1], PATCH, PATCH).float()
    return torch.cat([filters, -filters])


def classifier(images: Tensor) -> CIFAR10ResNet:
    """The network before its first step; 5,000 random images give the whitening."""
    model = CIFAR10ResNet().to(memory_format=torch.channels_last)
    some = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:5000]
    with torch.no_grad():
        model.whiten.weight.copy_(whitening(images[some]))
    for module in model.modules():
        if isinstance(module, Block):
            nn.init.dirac_(module.widen.weight[: module.widen.in_channels])
        if isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad_(False)
    return model


def optimizer(model: nn.Module, steps: int) -> tuple[torch.optim.SGD, LambdaLR]:
    """Nesterov's; the norms' biases learn faster, and decay as much per step as the other weights do."""
    learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    biases = [p for name, p in learned.items() if ".norms." in name]
    weights = [p for name, p in learned.items() if ".norms." not in name]
    groups = [
        {"params": weights, "lr": LEARNING_RATE, "weight_decay": WEIGHT_DECAY},
        {"params": biases, "lr": BIAS_FACTOR * LEARNING_RATE, "weight_decay": WEIGHT_DECAY / BIAS_FACTOR},
    ]
    sgd = torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True)

    def share(step: int) -> float:
        done = step / steps
        return START + (1 - START) * done / PEAK if done < PEAK else 1 + (END - 1) * (done - PEAK) / (1 - PEAK)

    return sgd, LambdaLR(sgd, share)


def augment(images: Tensor, index: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
    return shifted(alternately_flipped(images, index, epoch), 2, generator, "reflect")


TRAINING = ExtractorTraining(
    extractor="cifar10-resnet",
    dataset="cifar10",
    epochs=20,
    batch=500,
    classifier=classifier,
    optimizer=optimizer,
    augment=augment,
    smoothing=SMOOTHING,
    precision="bf16",
    stored=torch.float16,
    network=f"""\
The feature extractor behind FD-cifar10-resnet, KID-cifar10-resnet and IS-cifar10-resnet: a classifier of 32x32 colour
images with {{parameters:,}} parameters. A fixed layer that whitens patches of {PATCH}x{PATCH} pixels; three blocks
({", ".join(map(str, WIDTHS))} channels), each a 3x3 convolution, 2x2 max-pooling and a 3x3 convolution with a skip connection,
all with batch normalisation and SiLU; the maximum over the last map of 3x3, standardised by a last batch normalisation
(the features), and 10 linear outputs (the logits). The spatial features are the first seven channels of the second
block's map of 7x7.""",
    details={
        "augmentation": "shifts by -2 to 2 pixels in each direction, mirrored at the rim; mirrored in each other epoch",
        "optimiser": f"SGD, Nesterov momentum {MOMENTUM:g}, weight decay {WEIGHT_DECAY:g}, learning rate up to "
        f"{LEARNING_RATE:g} over the first {100 * PEAK:g} % of the steps, then linearly to {100 * END:g} % of it; the "
        f"biases of norms learn {BIAS_FACTOR} times faster, their scales are fixed at 1",
        "loss": f"cross-entropy, label smoothing {SMOOTHING:g}",
        "precision": "trained with bfloat16 products and float32 weights, stored in float16, used in float32",
    },
)
