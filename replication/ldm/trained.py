"""What the two kinds of trained first stages share: VQGAN's encoder and decoder."""

from abc import ABC

from torch import Tensor

from replication.ldm.autoencoder import Autoencoder, Scaling
from replication.ldm.autoencoder_networks import Decoder, Encoder, Levels


class TrainedAutoencoder(Autoencoder, ABC):
    """`c_moments`: the encoder's output channels. A subclass adds what lies between encoder and decoder."""

    decoder_parts = ("decoder", "post_quant_conv", "codebook")

    def __init__(self, image_channels: int, c_moments: int, latent_channels: int, levels: Levels, scaling: Scaling):
        super().__init__(levels.factor, latent_channels, image_channels, scaling)
        self.encoder = Encoder(image_channels, c_moments, levels)
        self.decoder = Decoder(latent_channels, image_channels, levels)

    @property
    def last_layer(self) -> Tensor:
        """The decoder's last weights, at which the discriminator's adaptive weight compares gradients."""
        return self.decoder.conv_out.weight
