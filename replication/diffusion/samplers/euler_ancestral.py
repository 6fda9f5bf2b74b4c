"""Euler ancestral, as k-diffusion named it: an Euler step to less noise than s has, then fresh noise up to s.

    up = eta sigma_s sqrt(1 - SNR_t/SNR_s),  down^2 = sigma_s^2 - up^2

These are DDIM's numbers, so this is DDIM under another name and with another default: eta 1.
"""

from replication.diffusion.samplers.ddim import DDIM
from replication.registry import SAMPLERS


@SAMPLERS.register("euler_ancestral")
class EulerAncestral(DDIM):
    """k-diffusion's Euler ancestral: DDIM under another name, with eta 1 (Song et al. 2021, equation 12).

    InputError for eta outside [0, 1].
    """

    def __init__(self, eta: float = 1.0):
        super().__init__(eta)
