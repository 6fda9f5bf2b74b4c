"""The bench runs and compares networks of the same configuration; its figures are not judged here."""

import pytest
import torch

from replication.bench import breakdown, distance, networks, sampling


def test_bench_prints_floor_loop_and_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a preset that the peer's configuration did not follow (weights would not fit)."""
    monkeypatch.setattr(sampling, "TURNS", 1)
    monkeypatch.setattr(sampling, "STEPS", 2)
    lines = sampling.bench_sampling(torch.device("cpu")).splitlines()
    assert len(lines) == 4
    assert all(line.count("%") == 2 for line in lines[2:])


def test_bench_prints_networks_beside_their_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers of random networks differ by at most 1e-4 of the largest (float32), and are not equal to the last bit.

    Catches: other weights, a label or a timestep that one of them does not get, and diffusers' own sinusoids (0.1).
    """
    monkeypatch.setitem(networks.SIZES, "cpu", networks.Size({"ddpm-digits": 2, "dit-s/8": 2}, {}, 64, "float32"))
    monkeypatch.setattr(networks, "TURNS", 1)
    for line in networks.bench_forward(torch.device("cpu")).splitlines()[2:]:
        _, _, _, _, share, *times, difference = (cell.strip() for cell in line.strip("|").split("|"))
        assert all(float(cell) > 0 for cell in (share.rstrip("%"), *times))
        assert 0 < float(difference) <= 1e-4


def test_bench_trains_beside_its_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times three: multiply-adds of a step. Catches: a loop that does not run, and a step that counts as a forward pass."""
    monkeypatch.setitem(networks.SIZES, "cpu", networks.Size({}, {"ddpm-digits": 4}, 64, "float32"))
    monkeypatch.setattr(networks, "TURNS", 1)
    (line,) = networks.bench_training(torch.device("cpu")).splitlines()[2:]
    _, multiply_adds, _, _, *times = (cell.strip() for cell in line.strip("|").split("|"))
    assert all(float(cell) > 0 for cell in times)
    assert float(multiply_adds) == pytest.approx(3 * 0.00797, rel=0.01)


def test_bench_prints_latents_beside_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a ratio of other figures than those printed (one turn: it is their quotient, to the digits shown)."""
    monkeypatch.setattr(sampling, "TURNS", 1)
    monkeypatch.setattr(sampling, "LATENT_STEPS", 2)
    cells = [cell.strip() for cell in sampling.bench_latents(torch.device("cpu")).splitlines()[2].split("|")]
    pixels, whole, decoding, ratio = (float(cell) for cell in cells[2:6])
    assert 0 < decoding < whole
    assert abs(ratio - pixels / whole) <= 0.02 * ratio + 0.01


def test_bench_prints_distances_that_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and torch-fidelity's distance of the same features differ by less than 1e-6, singular covariances included.

    Catches: the two given different features, or one of them the reference twice.
    """
    monkeypatch.setattr(distance, "IMAGES", 60)
    monkeypatch.setattr(distance, "WIDTH", 64)
    monkeypatch.setattr(distance, "RESAMPLES", 2)
    cells = [cell.strip() for cell in distance.bench_distance(torch.device("cpu")).splitlines()[2].split("|")]
    assert cells[1].startswith("n = 60, D = 64")
    assert float(cells[5]) < 1e-6


def test_bench_says_where_a_step_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation and a training step; the kinds add up to what was at work, to the digits shown, and only one trains.

    Catches: operations that are counted with those that they consist of, and a step that the profiler does not see.
    """
    monkeypatch.setitem(networks.SIZES, "cpu", networks.Size({}, {"ddpm-digits": 4}, 64, "float32"))
    monkeypatch.setattr(breakdown, "STEPS", 1)
    heading, _, *lines = breakdown.bench_breakdown(torch.device("cpu")).splitlines()
    columns = [cell.strip() for cell in heading.strip("|").split("|")]
    for line in lines:
        row = dict(zip(columns, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
        kinds = [float(row[kind]) for kind in breakdown.KINDS]
        assert sum(kinds) == pytest.approx(float(row["at work"]), rel=0.02)
        assert float(row["products"]) > 0
        assert (float(row["optimiser"]) > 0) == row["ms of a step"].startswith("training")
