"""A replication suite for diffusion models: DDPM, LDM and DiT, with every protocol choice stated."""

__version__ = "0.1.0"
