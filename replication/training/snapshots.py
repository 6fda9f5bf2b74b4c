"""Snapshots: the weights of a training after so many steps, with what it takes to go on.

How far a training goes is no part of what it is: `<key>-<steps>.safetensors` is the same whether training ended there or
went on. A file holds `weights.*`, `ema.*` and `buffers.*` of a network and, unless it was given, the optimisers' moments
`adam.*`, the `curve` and what else the training carries from step to step; its header holds the training's identity.
Published weights that were given are there once, as `ema.*`.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from replication.checkpoint import Corrupt, check_checkpoint, holds, load_metadata, load_weights, save_checkpoint
from replication.files import Damaged, set_aside
from replication.layers.building import without_parameters
from replication.settings import canonical_json, content_key
from replication.types import InputError, RunError

# in the header, SHA-256s:
GIVEN = "given"  # of the published file that the weights are from
ONE_COPY = "one_copy"  # not one, but whether its weights are the raw and the averaged ones at once
ENCODER = "encoder"  # of the encoder whose latents were trained on; None for pixels
Network = TypeVar("Network", bound=nn.Module)
SHIPPED = Path(__file__).parents[1] / "checkpoints"  # those that come with the package, and a card for each
VARIABLE = "REPLICATION_SHIPPED"  # "none": as if there were none, to train them anew


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one training in `folder`; `identity` is everything that fixes its weights besides the steps."""

    folder: Path
    identity: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        return content_key(self.identity)

    def own(self, steps: int) -> Path:
        """Where the snapshot after so many steps is written."""
        return self.folder / f"{self.key}-{steps}.safetensors"

    def after(self, steps: int) -> Path:
        """Where it is found: in the package where one ships and none is here."""
        own = self.own(steps)
        shipped = SHIPPED / own.name
        found = not own.exists() and os.environ.get(VARIABLE) != "none" and shipped.exists()
        return shipped if found else own

    def unfinished(self, steps: int) -> Path:
        """What a training to that step has reached so far, written anew every few seconds and gone at the end."""
        return self.folder / f"{self.key}-to-{steps}.safetensors"

    def found(self, steps: int) -> bool:
        """Whether there is the one after so many steps, by its header alone; a damaged file is set aside.

        Raises InputError for another training's.
        """
        path = self.after(steps)
        if (header := _header(path)) is None:
            return False
        self.check(header, path, steps)
        return True

    def before(self, steps: int) -> tuple[int, Path] | None:
        """(steps, file) of the last one before `steps`, to go on from; weights that were given have no moments.

        A damaged file is set aside: the one before it is gone on from.
        """
        named = re.compile(rf"{self.key}-(to-)?\d+\.safetensors")  # a sync tool's copies have other names
        files = (path for path in self.folder.glob(f"{self.key}-*") if named.fullmatch(path.name))
        headers = [(header, path) for path in files if (header := _header(path))]
        reached = [(header["step"], path) for header, path in headers if not header.get(GIVEN)]
        return max((one for one in reached if one[0] < steps), default=None)

    def whole_before(self, steps: int) -> Path | None:
        """The file of the last one before `steps` that is whole, all of it read; others are set aside."""
        while before := self.before(steps):
            try:
                check_checkpoint(before[1])
                return before[1]
            except Corrupt as error:
                set_aside(before[1], str(error))
        return None

    def check(self, header: Mapping[str, Any], path: Path, steps: int | None = None) -> None:
        """Raises InputError for the header of another training's snapshot, or of one after another number of steps."""
        if header.get("key") != self.key:
            theirs, own = header.get("identity", {}), json.loads(canonical_json(self.identity))
            differing = sorted(name for name in theirs.keys() | own if theirs.get(name) != own.get(name))
            raise InputError(
                f"{path}: this snapshot is of another training, which differs in {', '.join(differing)}; "
                "move it away and run again"
            )
        if steps is not None and header["step"] != steps:
            raise InputError(f"{path}: this snapshot is after {header['step']} steps, not {steps}; move it away")

    @staticmethod
    def prefix(path: Path, ema: bool) -> str:
        """Of the names of its averaged or raw weights; raises InputError where it holds none of these."""
        prefix = "ema." if ema or load_metadata(path).get(ONE_COPY) else "weights."
        if not holds(path, prefix):
            kept, of = ("raw", "averaged") if ema else ("averaged", "raw")
            advice = f"; {VARIABLE}=none trains it anew" if path.parent == SHIPPED else ""
            raise InputError(f"{path.name}: holds {kept} weights alone, not {of} ones{advice}")
        return prefix

    @staticmethod
    def check_encoder(header: Mapping[str, Any], path: Path, encoder: str | None) -> None:
        """Raises InputError for the header of a snapshot that was trained on the latents of another encoder."""
        if header.get(ENCODER) != encoder:
            raise InputError(
                f"{path}: trained on latents of the encoder {header.get(ENCODER)}, and these are of {encoder}; "
                "move it away and run again"
            )

    def save(
        self, path: Path, tensors: Mapping[str, Tensor], step: int, notes: Mapping[str, Any], single: bool = False
    ) -> None:
        """Atomically; raises RunError if it can't be written. single: see save_checkpoint."""
        save_checkpoint(path, tensors, {"key": self.key, "identity": self.identity, "step": step, **notes}, single)

    def give(
        self, weights: Mapping[str, Tensor], network: nn.Module, steps: int, sha256: str, notes: Mapping[str, Any]
    ) -> Path:
        """A snapshot of weights of the network that were published, kept once: they are raw and averaged in one.

        sha256: of their file. Numbers of fewer bits are kept as float32, which is computed with.
        """
        parameters = dict(network.named_parameters()).keys()
        tensors = {f"{'ema' if name in parameters else 'buffers'}.{name}": t for name, t in weights.items()}
        self.save(self.own(steps), tensors, steps, {**notes, GIVEN: sha256, ONE_COPY: True}, single=True)
        return self.own(steps)

    def load(
        self,
        build: Callable[[], Network],
        path: Path,
        steps: int,
        device: torch.device | str = "cpu",
        ema: bool = True,
    ) -> Network:
        """The network with the averaged or raw weights of that file, in evaluation mode; the moments are not read.

        It is built around the file's tensors, which go to the device one by one: there is no other copy of it at any time.
        Raises InputError if the file is missing, corrupt, of another training or of another number of steps.
        """
        self.check(load_metadata(path), path, steps)
        prefix = self.prefix(path, ema)
        tensors = load_weights(path, (prefix, "buffers."), device)
        state = named(tensors, prefix) | named(tensors, "buffers.")
        with without_parameters():
            network = build()
        network.load_state_dict(state, assign=True)
        if any(buffer.is_meta for buffer in network.buffers()):  # computed of parameters, which had no numbers
            network = build()
            network.load_state_dict(state)
        return network.to(device).to(memory_format=torch.channels_last).requires_grad_(False).eval()


@contextmanager
def damage_set_aside(path: Path) -> Iterator[None]:
    """Raises Damaged where the body finds that this snapshot is, which is set aside then, or that it has been.

    RunError for weights that were given: what is computed anew would be others.
    """
    try:
        yield
    except InputError as error:
        if path.exists() and not isinstance(error, Corrupt):
            raise
        if (_header(path) or {}).get(GIVEN):
            raise RunError(
                f"{path}: these weights were given, and are damaged ({error}); move the file away and give them again, as "
                "they were given (`replicate weights add` or `fetch`, or `replicate import`)"
            ) from error
        set_aside(path, str(error))
        raise Damaged(f"{path} was damaged and is set aside; the same command trains it again") from error


def _header(path: Path) -> dict[str, Any] | None:
    """A snapshot's, None where there is no file; a damaged one is set aside."""
    if not path.exists():
        return None
    try:
        return load_metadata(path)
    except InputError as error:
        set_aside(path, str(error))
        return None


def network_tensors(network: nn.Module, averaged: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a snapshot holds of a network itself."""
    parameters = dict(network.named_parameters())
    buffers = {name: t for name, t in network.state_dict().items() if name not in parameters}
    kinds = {"weights": parameters, "ema": averaged, "buffers": buffers}
    return {f"{kind}.{name}": t for kind, tensors in kinds.items() for name, t in tensors.items()}


def named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name begins with the prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
