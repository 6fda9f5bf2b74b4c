"""The processes of one training: each works on its rows of every batch, and all have the same weights after every step.

torchrun starts them and says in the environment who is who, or the command itself does (harness/companions.py). A training of
several processes is that of one: each makes the random draws of the whole batch and goes on with its own rows, gradients are
averaged once a step, and the first process alone looks at the clock, reads what there is and writes.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce

from replication.progress import be_quiet
from replication.types import InputError, RunError

T = TypeVar("T")
PATIENCE = timedelta(days=30)  # one waits for the rest while they draw images; torchrun ends them when it dies
MET = timedelta(hours=1)  # while the first one encodes images, say; of one that dies the others know at once


@dataclass(frozen=True)
class Processes:
    """This process is number `index`, from 0, of `count`; what is said "everywhere" is called by all of them.

    folder: of those that share a machine's memory, where their gradients meet as files that are mapped.
    """

    index: int = 0
    count: int = 1
    folder: str = ""
    _shared: dict[int, "SharedMean"] = field(default_factory=dict, repr=False, compare=False)  # by how many numbers

    @property
    def first(self) -> bool:
        return self.index == 0

    @property
    def several(self) -> bool:
        return self.count > 1

    def rows(self, n: int) -> slice:
        """This process's part of n rows; parts differ by one row at most. Raises InputError where one would have none."""
        if n < self.count:
            raise InputError(
                f"{self.count} processes train on parts of recipe.training.batch_size / accumulate = {n} images: "
                "start no more than that, or accumulate less"
            )
        return slice(n * self.index // self.count, n * (self.index + 1) // self.count)

    def share(self, n: int) -> float:
        """Weight of this process's mean, so that the mean over the processes is the mean over all n rows."""
        rows = self.rows(n)
        return self.count * (rows.stop - rows.start) / n

    def on_first(self, do: Callable[[], T]) -> T:
        """Everywhere: what `do` comes to in the first process, which alone does it, the two kinds of error included."""
        if not self.several:
            return do()
        said: list[T | InputError | RunError | None] = [None]
        if self.first:
            try:
                said = [do()]
            except (InputError, RunError) as error:
                said = [error]
        distributed.broadcast_object_list(said)
        if isinstance(said[0], InputError | RunError):
            raise said[0]
        return said[0]  # type: ignore[return-value]

    def first_ahead(self, do: Callable[[], T]) -> T:
        """Everywhere: what `do` comes to; the first process is done, and has written what it writes, when the others begin."""
        made: list[T] = []
        self.on_first(lambda: made.append(do()))
        return made[0] if made else do()

    def as_first(self, *decisions: bool) -> list[bool]:
        """Everywhere: those of the first process."""
        if not self.several:
            return list(decisions)
        said = torch.tensor(decisions)
        distributed.broadcast(said, 0)
        return said.tolist()

    def total(self, x: Tensor) -> Tensor:
        """Everywhere: x, the sum over the processes."""
        if not self.several:
            return x
        total = x.clone()
        distributed.all_reduce(total)
        return total

    def mean(self, x: Tensor) -> Tensor:
        """Everywhere: x, the mean over the processes."""
        return self.total(x) / self.count if self.several else x

    def average_gradients(self, network: nn.Module) -> None:
        """Everywhere, after the backward passes of a step: those of a network become their mean over the processes.

        Parameters without a gradient here have none in any process. On the CPU of one machine they meet in memory that all
        share, which takes half the time of sending them.
        """
        if not self.several:
            return
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        n = sum(gradient.numel() for gradient in gradients)
        if self.folder:
            if n not in self._shared:
                self._shared[n] = SharedMean(self, n)
            self._shared[n].average(gradients)
        else:
            mean = torch.empty(n, device=gradients[0].device)
            pieces = _pieces(mean, gradients)
            torch._foreach_copy_(pieces, gradients)
            distributed.all_reduce(mean)
            mean /= self.count
            torch._foreach_copy_(gradients, pieces)


ALONE = Processes()


def _pieces(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Views of flat [n] in the shapes and layouts of dense tensors of n numbers together."""
    parts = flat.split([tensor.numel() for tensor in like])
    return [part.as_strided(x.shape, x.stride(), part.storage_offset()) for part, x in zip(parts, like, strict=True)]


class SharedMean:
    """n numbers of each process, and their mean, in memory that the processes of one machine share: each averages a part."""

    def __init__(self, processes: Processes, n: int):
        rows, self.part = processes.count + 1, processes.rows(n)

        def new_file() -> str:
            path = Path(processes.folder, f"gradients-{len(os.listdir(processes.folder))}")
            # written whole: memory mapped to a full disk would end the process, without an error
            path.write_bytes(bytes(4 * rows * n))
            return str(path)

        self._rows = torch.from_file(processes.on_first(new_file), shared=True, size=rows * n).view(rows, n)
        self._own, self._mean = self._rows[processes.index], self._rows[-1]
        self._layout: list[tuple[torch.Size, tuple[int, ...]]] = []
        self._pieces: tuple[list[Tensor], list[Tensor]] = [], []  # of both rows, in that layout

    def average(self, tensors: list[Tensor]) -> None:
        """Everywhere: dense tensors of n numbers together become their mean over the processes."""
        layout = [(tensor.shape, tensor.stride()) for tensor in tensors]
        if layout != self._layout:  # that of gradients stays, though they are new in every step
            self._layout, self._pieces = layout, (_pieces(self._own, tensors), _pieces(self._mean, tensors))
        own, mean = self._pieces
        torch._foreach_copy_(own, tensors)
        distributed.barrier()
        torch.mean(self._rows[:-1, self.part], 0, out=self._mean[self.part])
        distributed.barrier()  # nobody writes the mean until all have met again
        torch._foreach_copy_(tensors, mean)


def in_layout_of(x: Tensor, whole: Tensor) -> Tensor:
    """`whole`, with its numbers in the order in memory of x, some rows of it: draws follow that order."""
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return whole.contiguous(memory_format=torch.channels_last) if last else whole


class DropoutOfWhole(nn.Dropout):
    """Dropout of some rows of a batch of n, by the draws that one process makes for all of them."""

    def __init__(self, p: float, n: int, rows: slice):
        super().__init__(p)
        self.n, self.rows = n, rows

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        each = len(x) // (self.rows.stop - self.rows.start)  # heads or windows may be folded into the batch
        whole = in_layout_of(x, x.new_ones(self.n * each, *x.shape[1:]))
        return x * F.dropout(whole, self.p)[self.rows.start * each : self.rows.stop * each]


class BatchNormOfWhole(nn.BatchNorm2d):
    """Batch normalisation of some rows of a batch of n, by the mean and the variance that all processes' rows have.

    It takes the parameters and buffers of `plain` as they are.
    """

    def __init__(self, plain: nn.BatchNorm2d, n: int, rows: slice):
        super().__init__(plain.num_features, plain.eps, plain.momentum, plain.affine, plain.track_running_stats)
        for name, tensor in (plain._parameters | plain._buffers).items():
            setattr(self, name, tensor)
        self.times = n / (rows.stop - rows.start)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        a = x.float()
        count = a.numel() / a.shape[1] * self.times
        mean = all_reduce(a.sum((0, 2, 3), keepdim=True)) / count
        centred = a - mean
        variance = all_reduce(centred.square().sum((0, 2, 3), keepdim=True)) / count
        if self.track_running_stats:
            self._remember(mean.detach().flatten(), variance.detach().flatten() * (count / (count - 1)))
        normal = centred * (variance + self.eps).rsqrt()
        if self.affine:
            normal = normal * self.weight[:, None, None] + self.bias[:, None, None]
        return normal.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        factor = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        for kept, new in ((self.running_mean, mean), (self.running_var, variance)):
            assert kept is not None
            kept.lerp_(new.to(kept), factor)


def for_whole(network: nn.Module, n: int, rows: slice) -> None:
    """Let what answers by the whole batch do so though it sees these rows of n: nn.Dropout draws for all, and nn.BatchNorm2d
    has the statistics of all. Other draws stay as they are.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, DropoutOfWhole(child.p, n, rows).train(child.training))
            elif isinstance(child, nn.BatchNorm2d):
                setattr(module, name, BatchNormOfWhole(child, n, rows).train(child.training))


@contextmanager
def started_together(device: torch.device) -> Iterator[Processes]:
    """Those that torchrun started, over NCCL on CUDA and gloo on the CPU; ALONE without it.

    The first one speaks for all: the others print nothing, show no bar, and end without an error where it reports one.
    Raises InputError where there are fewer devices than processes.
    """
    index, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if "MASTER_ADDR" not in os.environ or count == 1:
        yield ALONE
        return
    local = int(os.environ.get("LOCAL_RANK", index))
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise InputError(
                f"torchrun started process {local + 1} on this machine, and it has {torch.cuda.device_count()} GPUs: "
                "give --nproc-per-node their number"
            )
        torch.cuda.set_device(local)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    processes = Processes(index, count)
    try:
        if processes.first:
            yield processes
        else:
            with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
                be_quiet(True)
                yield processes
    except (InputError, RunError) as error:
        if processes.first:
            raise
        raise SystemExit(0) from error  # or torchrun might end the first one before it has said what is wrong
    finally:
        distributed.destroy_process_group()


@contextmanager
def met(index: int, count: int, folder: str) -> Iterator[Processes]:
    """Processes of this machine's CPU, which find each other in an empty folder; all of them call it, with their numbers.

    Once one has left, however that came, what the others wait for raises RuntimeError.
    """
    # no network has a part in it
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=index, world_size=count, timeout=MET
    )
    try:
        yield Processes(index, count, folder)
    finally:
        distributed.destroy_process_group()
