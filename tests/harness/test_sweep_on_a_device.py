"""Whole rows on a pretended device: from training to metrics, pixels and latents, guidance and the bound; nothing is mixed."""

from pathlib import Path

import pytest
import torch
from pretended import CUDA, Pretended
from tiny import write_tiny
from tiny_latent import TOML as LATENT

from replication.harness.experiment import load_experiment
from replication.harness.job import jobs_of
from replication.harness.store import Store
from replication.harness.sweep import journal_of, run
from replication.harness.workplace import Workplace
from replication.metrics import machine


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """What a row asks of the device besides its tensors."""
    answers = {
        "synchronize": None,
        "mem_get_info": (80 << 30, 80 << 30),
        "memory_reserved": 0,
        "reset_peak_memory_stats": None,
        "max_memory_allocated": 1,
        "get_device_name": "none",
    }
    for sizes in (machine.SIDES, machine.BYTES):  # a processor stands for the device
        monkeypatch.setitem(sizes, "cuda", sizes["cpu"])
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    return Pretended()


@pytest.mark.parametrize("kind", ["pixels", "latents"])
def test_a_profile_runs_on_the_device(kind: str, device: Pretended, isolated: Path) -> None:
    """Catches whatever lies on the CPU between a network and its row: a condition, a decoder, an extractor, a metric."""
    path = write_tiny(isolated)
    if kind == "latents":
        path.write_text(LATENT)
    jobs = jobs_of(load_experiment(str(path), {}, "cpu"), "cpu")
    jobs = jobs if kind == "latents" else jobs[:1]
    with device:
        run(jobs, Workplace(isolated, CUDA, 8, progress=False), Store(isolated))
    assert len(journal_of(jobs, isolated).rows()) == len(jobs)
