"""What each of several processes does in the tests: trains, and writes what came of it and how it ended.

Process i trains in FOLDER/i, so that files which another than the first one writes are seen.
"""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from first_stages import DIGITS, stage
from torch import Tensor
from training_recipes import CPU, recipe

from replication.checkpoint import save_checkpoint
from replication.deadline import NEVER, Deadline
from replication.diffusion.objectives.simple import Simple
from replication.training.data import images_of
from replication.training.first_stage import FirstStage
from replication.training.loop import SAVING_SECONDS, TrainingState
from replication.training.processes import Processes, started_together
from replication.training.recipe import Recipe
from replication.training.train import NetworkState, train
from replication.training.train_first_stage import FirstStageState, train_first_stage

GRADIENTS: dict[str, Recipe | FirstStage] = {
    "plain": recipe(),
    "parts of odd size": recipe(batch_size=6, accumulate=2),
    "labels, mirrored": recipe(network="ddpm-digits-label", condition="label", flip=True),
    "first stage": stage("kl-f2"),
    "first stage, parts of odd size": stage("vq-f2", training={"batch_size": 6, "accumulate": 2}),
    "first stage, a decoder": stage("kl-f2").with_fields(decoder_of=stage("kl-f2")),
}


def begun(chosen: Recipe | FirstStage, processes: Processes) -> TrainingState:
    if isinstance(chosen, Recipe):
        return NetworkState(chosen, CPU, processes)
    torch.manual_seed(0)
    base = chosen.build_autoencoder() if chosen.decoder_of else None
    return FirstStageState(chosen, CPU, base, processes)


def gradients(chosen: Recipe | FirstStage, processes: Processes) -> dict[str, Tensor]:
    """Of three steps, each from the weights that the ones before left; then everything that a snapshot holds."""
    state = begun(chosen, processes)
    data = images_of(DIGITS, chosen.training, CPU)
    state.prepare(data)
    found: dict[str, Tensor] = {}
    for _ in range(3):
        done = state.advance(data)
        networks = {"gradient": state.network, **state.beside}
        kept = {f"{of}.{name}": p.grad for of, n in networks.items() for name, p in n.named_parameters()}
        found |= {f"{state.step}.{name}": g.clone() for name, g in kept.items() if g is not None}
        found |= {f"{state.step}.loss": processes.mean(done.loss), f"{state.step}.gradient_norm": done.gradient_norm}
    return found | {name: tensor for name, tensor in state.tensors().items() if name != "curve"}


def trained(folder: Path, processes: Processes, steps: int = 6, deadline: Deadline = NEVER) -> None:
    own = folder / str(processes.index)
    train(
        recipe(steps=steps),
        own,
        CPU,
        milestones=(2,),
        progress=False,
        checkpoint_seconds=1e9,
        deadline=deadline,
        processes=processes,
    )


def trained_stage(folder: Path, processes: Processes) -> None:
    own = folder / str(processes.index)
    train_first_stage(stage("kl-f2"), DIGITS, own, CPU, progress=False, checkpoint_seconds=1e9, processes=processes)


class SpoiltInOne(Simple):
    """NaN from the second step on, in the process that it is made in alone."""

    calls = 0

    def __call__(self, *arguments: object) -> Tensor:
        self.calls += 1
        return super().__call__(*arguments) * (torch.nan if self.calls > 4 else 1.0)  # type: ignore[arg-type]


def diverging(folder: Path, processes: Processes) -> None:
    if not processes.first:
        Recipe.build_objective = lambda self: SpoiltInOne()  # type: ignore[method-assign]
    trained(folder, processes)


class Over(Deadline):
    """Over when it has been asked three times."""

    asked: list[int] = []

    def left(self) -> float:
        self.asked.append(1)
        return 0.0 if len(self.asked) > 3 else SAVING_SECONDS + 1


def out_of_time(folder: Path, processes: Processes, whose: int) -> None:
    trained(folder, processes, deadline=Over() if processes.index == whose else NEVER)


def too_many(folder: Path, processes: Processes) -> None:
    train(recipe(batch_size=1), folder, CPU, progress=False, processes=processes)


SCENARIOS: dict[str, Callable[[Path, Processes], None]] = {
    "trained": trained,
    "half": partial(trained, steps=3),
    "first stage trained": trained_stage,
    "first out of time": partial(out_of_time, whose=0),
    "second out of time": partial(out_of_time, whose=1),
    "too many": too_many,
    "diverging": diverging,  # the last: it spoils what comes after
}


def work(index: int, environment: dict[str, str], folder: Path, scenarios: Sequence[str]) -> None:
    """In a fork with this number, which ends here: each of the scenarios."""
    os.environ.update(environment, RANK=str(index))
    with started_together(CPU) as together:
        for scenario in scenarios:
            where, how = folder / scenario, "it ended"
            where.mkdir(parents=True, exist_ok=True)
            try:
                if scenario in GRADIENTS:
                    found = gradients(GRADIENTS[scenario], together)
                    save_checkpoint(where / f"{together.index}.safetensors", found, {})
                else:
                    SCENARIOS[scenario](where, together)
            except (Exception, SystemExit) as error:
                how = f"{type(error).__name__}: {error}"
            (where / f"{together.index}.json").write_text(json.dumps(how))
    os._exit(0)  # what threads of PyTorch and gloo do while the interpreter ends, now and then an abort, is not tested
