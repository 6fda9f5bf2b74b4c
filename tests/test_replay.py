"""What can't be recorded runs as it is; what a recording does, only a device shows: tests/test_device.py."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training_recipes import CPU, recipe

from replication import acceleration
from replication.acceleration import WARMUPS, Policy, Replayed
from replication.checkpoint import load_checkpoint
from replication.training.train import train


@pytest.fixture
def unrecordable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where calls aside are calls, and every recording fails."""

    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no device\nand more lines")

    monkeypatch.setattr(acceleration, "_aside", lambda function, arguments: function(*arguments))
    monkeypatch.setattr(acceleration.torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(acceleration.torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(acceleration.torch.cuda, "graph", fails)


def test_what_cannot_be_recorded_runs_after_one_warning(unrecordable: None) -> None:
    """Catches a training step that is lost, or done twice, at the recording that fails, and a warning for each call."""
    done: list[float] = []

    def step(x: Tensor) -> Tensor:
        done.append(float(x))
        return 2 * x

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        run = Replayed(step, effects=True)
        answers = [float(run(torch.tensor(float(i)))) for i in range(WARMUPS + 3)]
    assert done == [float(i) for i in range(WARMUPS + 3)]
    assert answers == [2 * x for x in done]
    assert [str(one.message).rsplit(".", 1)[-1] for one in seen] == [
        "step cannot be recorded (RuntimeError: no device); it runs without"
    ]


def test_a_training_ends_in_the_same_weights_where_nothing_is_recorded(
    unrecordable: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact. Catches a step of the training that the failed recording swallowed."""
    plain = load_checkpoint(train(recipe(steps=6), tmp_path / "plain", CPU, progress=False))[0]
    monkeypatch.setattr(Policy, "replays_on", classmethod(lambda policy, device: True))
    with pytest.warns(RuntimeWarning, match="cannot be recorded"):
        other = load_checkpoint(train(recipe(steps=6), tmp_path / "other", CPU, progress=False))[0]
    assert all(torch.equal(tensor, other[name]) for name, tensor in plain.items() if name != "curve")
