"""What runs compiled: the same answers, the same names, one layout, and whatever cannot be compiled runs as it is."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pretended import CUDA, Pretended
from torch import Tensor
from training_recipes import CPU, recipe

from replication import acceleration
from replication.acceleration import AcceleratedNetwork, Compiled, Policy, with_cast_weights
from replication.check.models import randomize
from replication.checkpoint import load_checkpoint
from replication.diffusion import Denoiser
from replication.layers import unet
from replication.layers.unet import by_channels, of_few_channels
from replication.noise import _compiled_normals, standard_normals
from replication.numerics import numerics
from replication.registry import MODELS, SCHEDULES
from replication.sampling import generation
from replication.sampling.generation import SamplePlace, SampleRequest, Sampling, Source, generate
from replication.training import train as training
from replication.training.train import train


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Compiled on the CPU into the same operations; every compilation is kept. What was compiled before is forgotten."""
    made: list[Any] = []

    def backend(graph: Any, inputs: list[Tensor]) -> Callable[..., Any]:
        made.append([tuple(x.shape) for x in inputs if isinstance(x, Tensor)])
        return graph.forward

    torch._dynamo.reset()
    _compiled_normals.cache_clear()
    monkeypatch.setattr(acceleration.torch, "compile", partial(torch.compile, backend=backend, fullgraph=True))
    monkeypatch.setattr(Policy, "compiles_on", classmethod(lambda policy, device: policy.compiles))
    monkeypatch.setattr(Policy, "compiles", True)
    yield made
    torch._dynamo.reset()
    _compiled_normals.cache_clear()


def network() -> torch.nn.Module:
    net = MODELS.build("ddpm-digits").eval().requires_grad_(False)
    randomize(net, seed=2)
    return net


def images(n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(n)), torch.full((n,), 5.0)


@torch.no_grad()
def test_chunks_that_differ_by_one_image_share_their_code(graphs: list[Any]) -> None:
    """max-abs 1e-5. Catches a smaller batch that is compiled anew in a timed chunk, and rows that fill it coming back."""
    plain = network()
    compiled = AcceleratedNetwork(plain, replays=False)
    for n in (32, 31, 32, 30):
        answer = compiled(*images(n))
        assert len(answer) == n
        assert (answer - plain(*images(n))).abs().max() <= 1e-5
    assert len(graphs) == 1
    compiled(*images(8))  # far smaller: filling it up would cost more than it saves
    assert len(graphs) == 2


@torch.no_grad()
def test_a_layout_is_no_reason_to_compile_again(graphs: list[Any]) -> None:
    """Catches a guard on strides: a step's state has another layout than the first noise, and a time is one number."""
    compiled, (x, t) = AcceleratedNetwork(network(), replays=False), images(4)
    for given in (x, x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        compiled(given, t)
        compiled(given, torch.tensor(5.0).expand(4))
    assert len(graphs) == 1


def test_what_cannot_be_compiled_runs_after_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a compiler's error that ends a sweep, and one warning for each call."""

    def broken(function: Any, **_: Any) -> Callable[..., Any]:
        def fail(*_: Any) -> Any:
            raise RuntimeError("no compiler\nand more lines")

        return fail

    monkeypatch.setattr(acceleration.torch, "compile", broken)
    monkeypatch.setattr(Policy, "compiles", True)
    plain = network()
    compiled = AcceleratedNetwork(plain, replays=False)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(3):
            compiled(*images(4))
    assert [str(one.message) for one in seen] == [
        "UNet.forward cannot be compiled (RuntimeError: no compiler); it runs without"
    ]
    assert (compiled(*images(4)) - plain(*images(4))).abs().max() <= 1e-5
    assert not Policy.compiles  # so that the device of later rows does not say that it compiles


@torch.no_grad()
def test_what_answers_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a wrong kernel, NaN included: the right answer is given from the first call on."""
    x = torch.ones(3)
    for wrong in (lambda x: 1.2 * x, lambda x: x / 0):
        monkeypatch.setattr(acceleration.torch, "compile", lambda _, wrong=wrong, **__: wrong)
        compiled = Compiled(torch.sin)
        with pytest.warns(RuntimeWarning, match="answers otherwise"):
            assert torch.equal(compiled(x), x.sin())
        assert torch.equal(compiled(x), x.sin())


def test_the_noise_is_the_same_compiled(graphs: list[Any]) -> None:
    """Exact. Catches code for one draw, one seed or one number of images alone."""
    compiled = Compiled(standard_normals, torch.float64, dynamic=True)
    for n, draw, key in ((4, 0, 1), (4, 1, 2**32 - 1), (3, 2**32 - 1, 7)):
        given = torch.arange(n)[:, None], torch.full((n, 1), draw), torch.tensor([key, 0]), 9
        assert torch.equal(compiled(*given), standard_normals(*given))
    assert len(graphs) == 1


def test_a_training_has_the_same_weights_under_the_same_names(graphs: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Exact: what is compiled here is the same operations. Catches names with a wrapper's prefix, and a prepared step that stays."""
    tensors = []
    for seconds in (0.0, 1e9):  # what the steps must take for compiling to pay
        monkeypatch.setattr(training, "PAYS", seconds)
        tensors.append(load_checkpoint(train(recipe(steps=3), tmp_path / str(seconds), CPU, progress=False))[0])
        assert len(graphs) == 1
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(t, tensors[1][name]) for name, t in tensors[0].items() if name != "curve")


def test_compiling_is_in_no_time(graphs: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a compilation while the clock runs: of the smaller chunk, or of its noise."""
    timed: list[int] = []

    class Watch(generation.Stopwatch):
        def __enter__(self) -> Any:
            timed.append(len(graphs))
            return super().__enter__()

        def __exit__(self, *error: object) -> None:
            super().__exit__(*error)
            timed.append(len(graphs))

    monkeypatch.setattr(generation, "Stopwatch", Watch)
    plain, schedule = network(), SCHEDULES.build("linear")
    settings = Sampling.model_validate({"sampler": "ancestral", "spacing": "uniform", "steps": 4, "clip": "x0"})
    sets = []
    for name, net in (("plain", plain), ("compiled", AcceleratedNetwork(plain, replays=False))):
        place = SamplePlace(tmp_path / name, 8, CPU, progress=False)
        sets.append(
            generate(Source(Denoiser(net, schedule, "v"), (1, 8, 8)), SampleRequest(settings, 15, 0), place).images
        )
    with_noise_alone, with_both = sorted(set(timed))
    assert (with_noise_alone, with_both) == (1, 2)
    assert torch.equal(*sets)


@pytest.mark.parametrize("name", ["ddpm-digits", "ldm-unet", "dit", "mm-dit"])
@torch.no_grad()
def test_cast_weights_answer_as_autocast_does(name: str) -> None:
    """Exact. Catches a weight that autocast leaves in float32, and a cast that changes the network itself."""
    small = {"depth": 1, "width": 16, "heads": 2, "patch": 2, "channels": 1, "resolution": 8}
    text = {"vocabulary": 9, "length": 4}
    options = {
        "ldm-unet": {"resolution": 8, "channels": 1, "width": 8, "multipliers": [1, 1], "blocks": 1, "attention": [2], "heads": 1, "groups": 4, "context": 8, "text_layers": 1, **text},
        "dit": {**small, "classes": 5},
        "mm-dit": {**small, **text},
    }  # fmt: skip
    plain, (x, t) = MODELS.build(name, **options.get(name, {})).eval().requires_grad_(False), images(4)
    randomize(plain, seed=2)
    of_images = torch.ones(4, dtype=torch.int64)
    cond = {"ddpm-digits": None, "dit": of_images}.get(name, of_images[:, None].expand(4, 4))
    cond = None if cond is None else plain.encode(cond)
    with numerics("bf16", CPU):
        expected, answer = plain(x, t, cond), with_cast_weights(plain, torch.bfloat16)(x, t, cond)
    assert torch.equal(expected, answer)
    assert all(p.dtype == torch.float32 for p in plain.parameters())


def test_a_norm_by_channels_is_a_group_norm() -> None:
    """Answer and gradients, max-abs 1e-4 of unit size, on channels of unequal means. Catches a variance within channels alone."""
    torch.manual_seed(0)
    x = torch.randn(3, 8, 6, 6) * torch.rand(8, 1, 1) + 3 * torch.randn(8, 1, 1)
    weight, bias, ahead = torch.randn(8), torch.randn(8), torch.randn(3, 8, 6, 6)
    answers = []
    for norm in (lambda *a: F.group_norm(a[0], 2, *a[1:], eps=1e-6), lambda *a: by_channels(a[0], 2, *a[1:], eps=1e-6)):
        given = [a.clone().requires_grad_() for a in (x, weight, bias)]
        answer = norm(*given)
        answers.append([answer, *torch.autograd.grad((answer * ahead).sum(), given)])
    for one, other in zip(*answers, strict=True):
        assert (one - other).abs().max() <= 1e-4 * one.abs().max()


@torch.no_grad()
def test_a_network_of_one_thread_is_that_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """max-abs 1e-5 of the largest, on features of unequal means. Catches norms of other groups, and means of all images."""
    plain, (x, t) = network().to(memory_format=torch.channels_last), images(6)
    x, norms, before = x * torch.linspace(0.5, 3, 6)[:, None, None, None] + 2, 0, torch.get_num_threads()

    def counted(*arguments: Any) -> Tensor:
        nonlocal norms
        norms += 1
        return of_few_channels(*arguments)

    monkeypatch.setattr(unet, "of_few_channels", counted)
    answers = []
    try:
        for threads in (2, 1):
            torch.set_num_threads(threads)
            answers.append(plain(x, t))
            assert norms == (0 if threads == 2 else sum(m.num_channels < 64 for m in plain.modules() if is_norm(m)))
    finally:
        torch.set_num_threads(before)
    assert (answers[0] - answers[1]).abs().max() <= 1e-5 * answers[0].abs().max()


def is_norm(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.GroupNorm)


@torch.no_grad()
def test_a_network_is_the_same_with_its_norms_by_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """max-abs 1e-5 of the largest. Catches a network whose norms stay PyTorch's own where its code is compiled for CUDA."""
    plain, (x, t) = network(), images(4)
    expected, norms = plain(x, t), 0

    def counted(*arguments: Any) -> Tensor:
        nonlocal norms
        norms += 1
        return by_channels(*arguments)

    monkeypatch.setattr(unet, "by_channels", counted)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with Pretended():
        answer = plain.to(CUDA)(x.to(CUDA), t.to(CUDA)).cpu()
    assert norms == sum(isinstance(m, torch.nn.GroupNorm) for m in plain.modules())
    assert (answer - expected).abs().max() <= 1e-5 * expected.abs().max()
