"""Where each choice was seen: paper, code or thread, by its name. Imports nothing.

SOURCES: those that `forensics` moves, in the order of its report. ASKED: what else people asked of a FID that they could not
reproduce, with the values that it turned into one another; the answer lies in the sampler, the data or the training.
"""

SOURCES = {
    "weights": "pytorch-ddpm #22: 8.06 raw, 3.21 EMA; tpu_utils.py:168-171 of DDPM",
    "seed": "EDM's README: three seed blocks, the minimum reported. Here it is the yardstick of pure noise",
    "quantizer": "IDDPM, ADM and LDM truncate, EDM, DiT and torchvision round",
    "clip": "DDPM clips x0 before the mean, pytorch-ddpm after it, DDIM's eta path never, ADM derives eps anew",
    "spacing": "ddim #3, #32, diffusers #7401: five rules are in use under the name of DDIM",
    "last alpha": "DDIM ends at 1, LDM's DDIM (util.py:66) at alphas_cumprod[0]; diffusers' set_alpha_to_one",
    "variance": "ddim #5: 280 in place of 18.36 at S = 20; DDPM's default is fixedlarge",
    "precision": "autocast for speed, as the suite's own gpu profile does; the published tables are float32",
    "TF32": "DiT's README and #25: its table was made with TF32 off",
    "labels": "latent-diffusion #262, LD3 #3: random labels 4.65, exactly balanced ones 3.54",
    "sampling batch": "lucidrains #224, torch-fidelity #43: does the batch size enter the figure?",
    "n": "k-diffusion #51, DiT #94: 2,000 to 10,000, not 50,000; DDIM's code: whole batches of 64",
    "samples stored": "DDPM-IP #31: 2.50 with PNG, 5.80 with JPEG",
    "reference stored": "improved-diffusion #106, DDPM-IP #31, LFM #11: a reference set kept as JPEG",
    "reference": "DDPM prints both: 3.17 against training images, 5.24 against test images",
    "last partial batch": "DDPM's datasets.py:52: drop_remainder leaves 49,920 of 50,000 reference images",
    "reference resized": "latent-diffusion #253, clean-fid: a reference prepared with another filter",
    "extractor's resize": "clean-fid: PIL bicubic, antialiased, in place of TensorFlow 1's bilinear",
    "extractor precision": "torch-fidelity #43; its own option for it computes in float32 in 0.4.0",
    "extractor batch": "torch-fidelity #43: a float32 Inception depends on the batch size",
}

ASKED = {
    "ODE or SDE": "SiT #31: 9.5 or 8.3 of one checkpoint; here another sampler, a row of its own",
    "reference's resolution": "SiT #14: 2.45 against images as they were, 2.149 once they were brought to 256 pixels",
    "batch of the first stage": "RAE #44: rFID 1.88, 2.12 and 3.96 after training at batch 512, 256 and 128",
    "which reference": "RAE #11: samples compared with the statistics of another reference",
    "number of samples": "REPA #34: the script packs 40,192 samples, where 50,000 are said",
    "number of GPUs": "flow_matching #68: 2.07 on 8, 3.09 on one at the same batch per GPU, so another total",
    "selection": "JiT #42: EMA and guidance are swept, the best pair is printed; 5.44 or 7.41. EDM2: the minimum of 3",
}
