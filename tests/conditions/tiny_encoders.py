"""Text encoders with random weights, saved as the Hub's are: what the tests of pretrained conditions read."""

from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer


def _randomized(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every parameter away from its initial value, norms included, so that one left out is seen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator) + (parameter.ndim == 1))
    return network


def clip_tokenizer(length: int = 40) -> CLIPTokenizer:
    """Byte-pair encoding with a few merges, end token as padding."""
    alphabet = sorted(ByteLevel.alphabet())
    merges = [("a", "n</w>"), ("s", "h"), ("i", "p</w>"), ("sh", "ip</w>")]
    pieces = [*alphabet, *(f"{c}</w>" for c in alphabet), *map("".join, merges), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)


def clip_network(seed: int = 0, length: int = 40) -> CLIPTextModel:
    tokenizer = clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=length, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return _randomized(CLIPTextModel(config), seed).eval()


def write_clip(folder: Path, seed: int = 0) -> Path:
    clip_network(seed).save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    return folder


def t5_tokenizer() -> T5Tokenizer:
    """Unigram over ASCII letters, digits and a few words."""
    pieces = ["▁", *"abcdefghijklmnopqrstuvwxyz0123456789", "▁a", "▁ship", "▁photo"]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((piece, -float(len(piece) < 2)) for piece in pieces)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=40)


def t5_network(seed: int = 0) -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(t5_tokenizer()), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0.1,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return _randomized(T5EncoderModel(config), seed).eval()


def write_t5(folder: Path, seed: int = 0) -> Path:
    t5_network(seed).save_pretrained(folder)
    t5_tokenizer().save_pretrained(folder)
    return folder
