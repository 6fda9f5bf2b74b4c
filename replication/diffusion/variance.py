"""The variance of the reverse step p(x_s|x_t), by its published name (Ho et al. 2020, section 3.2).

fixed-large   sigma_{t|s}^2, beta_t on consecutive steps: the official CIFAR-10 default, and DDIM's sigma-hat
fixed-small   the variance of q(x_s|x_t,x_0), beta-tilde_t on consecutive steps
learned       what the network says (Table 2, "learned diagonal")
"""

from torch import Tensor

from replication.diffusion.forward import transition
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import unknown
from replication.types import InputError, Prediction, per_image

VARIANCES = ("fixed-large", "fixed-small", "learned")


def check_variance(name: str) -> str:
    """The name itself if it is valid; raises InputError otherwise."""
    if name not in VARIANCES:
        raise unknown("variance", name, list(VARIANCES))
    return name


def reverse_variance(
    name: str, prediction: Prediction, posterior_variance: Tensor, schedule: NoiseSchedule, t: Tensor, s: Tensor
) -> Tensor:
    """The variance of p(x_s|x_t), shaped to multiply [B,C,H,W]; raises InputError if learned and the network has none."""
    if name == "learned":
        if prediction.log_var is None:
            raise InputError(
                "variance 'learned' needs a network with twice the output channels (learned_variance = true)"
            )
        return prediction.log_var.exp()
    variance = transition(schedule, s, t)[1] if name == "fixed-large" else posterior_variance
    return per_image(variance, prediction.x0)
