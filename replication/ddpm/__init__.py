"""Ho, Jain and Abbeel 2020, "Denoising diffusion probabilistic models" (arXiv:2006.11239), mapped to this code.

    equation 4           q(x_t|x_0)                       diffusion/forward.py    marginal
    equations 6, 7       q(x_{t-1}|x_t,x_0)               diffusion/forward.py    posterior
    equation 5           the variational bound            diffusion/bound.py      bound_term
    equation 11          eps prediction                   diffusion/parameterization.py  Eps
    equation 13          the discretised decoder          diffusion/bound.py      decoder_nll
    equation 14          L_simple                         diffusion/objectives/simple.py
    algorithm 1          training                         training/train.py
    algorithm 2          sampling                         diffusion/samplers/first_order.py
    section 3.2          sigma_t^2 = beta_t, beta-tilde_t diffusion/forward.py    reverse_variance
    section 4, appendix B  the U-Net                      ddpm/unet.py, layers/unet.py
    Tables 1 and 2       rows and cells                   experiments/ddpm.toml, profile paper

Its companion is Song, Meng and Ermon 2021, "Denoising diffusion implicit models" (arXiv:2010.02502): Table 1 of that
paper is the other half of experiments/ddpm.toml. Published weights and their spelling: ddpm/published_weights.py.
"""
