"""The words that every layer shares: the shape legend, Prediction, and the two kinds of error.

Shape legend, used in every signature and comment:

    B  images in a batch      C  channels      H, W  height and width, pixels
    N  steps of a sampler     T  steps of a discrete training schedule
    D  features of an extractor                K  classes

`x_t: Float[B,C,H,W]` is an image in [-1, 1] at time t, and `t: Float[B]` is a time in [0, 1] where 0 is clean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # torch takes seconds to import, and the command line needs the errors alone
    from torch import Tensor


SEEDS = 2**64  # of images: a seed is from 0 to one less


class Prediction(NamedTuple):
    """What a denoiser answers at (x_t, t); the two images satisfy x_t = alpha x0 + sigma eps unless x0 was clipped."""

    x0: Tensor  # [B,C,H,W]
    eps: Tensor  # [B,C,H,W]
    log_var: Tensor | None = None  # [B,C,H,W], log-variance of q(x_s | x_t) where the network learns it
    # whether log_var is instead v in [-1, 1], the place between those of fixed-small and fixed-large
    is_range: bool = False
    gradient: Tensor | None = None  # [B,C,H,W], of what is to be added to log p(x_t): a classifier's guidance


class InputError(Exception):
    """The input is wrong: a TOML, an option, a file. The message names file, key, value and the nearest valid choice.

    The command line prints the message alone and exits with 2.
    """


class RunError(Exception):
    """Something broke while running; what was finished is kept. The command line prints the message and exits with 1."""


def one_line(error: BaseException) -> str:
    """The first line of what it says, or its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def per_image(a: Tensor, x: Tensor) -> Tensor:
    """Shape a coefficient per image, `a: [B]` or a scalar `[]`, so that it multiplies `x: [B,C,H,W]`; dtype as x."""
    a = a.to(x.dtype)
    return a if a.ndim == 0 else a.to(x.device).reshape(-1, *[1] * (x.ndim - 1))
