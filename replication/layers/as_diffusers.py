"""A network of ours as a model of diffusers': its class, its configuration, and every tensor in its place there.

What `published_weights` of a paper reads is written by the same tables: the names are those of diffusers' own class, and each
is followed to the tensor under our names. diffusers is an optional dependency.
"""

import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from replication.layers.weights import Option, Spelling
from replication.types import InputError

TOLERANCE = 1e-5  # of the outputs' largest number: float32, summed in another order


def spelling_of(network: nn.Module, spellings: Sequence[Spelling]) -> Spelling:
    """The one in which diffusers has such networks; raises InputError where it has none."""
    for spelling in spellings:
        if spelling.name == "diffusers" and isinstance(network, spelling.of) and spelling.shapes and spelling.place:
            return spelling
    raise InputError(f"no class of diffusers computes what {type(network).__name__} does")


def configured(network: nn.Module, spelling: Spelling) -> Any:
    """diffusers' model of the network's configuration, with weights of its own; raises InputError for what it can't say."""
    assert spelling.options is not None and spelling.shapes is not None  # noqa: PT018
    diffusers = imported()
    name, options = next(iter(spelling.options(network).items()))
    kind, said = getattr(diffusers, name), dict(spelling.shapes(network))
    known = inspect.signature(kind.__init__).parameters
    unsaid = [key for key, option in options.items() if not option.ours or _lacking(key, option, known)]
    if unsaid:
        values = [f"{key} = {options[key].ours[0] if options[key].ours else 'that of this network'}" for key in unsaid]
        raise InputError(f"diffusers' {name} cannot say {', '.join(values)}")
    said |= {key: option.ours[0] for key, option in options.items() if key in known}
    try:
        return kind.from_config(said).eval()
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"diffusers' {name} cannot be built like this network: {error}") from error


def _lacking(key: str, option: Option, known: Any) -> bool:
    return key not in known and option.ours[0] != option.default


def as_diffusers(network: nn.Module, spelling: Spelling) -> Any:
    """diffusers' model with the network's weights; what no option says is set in it (`Spelling.adjusted`).

    Raises InputError, naming it, for what the class cannot say, and for a tensor that has no place in the other.
    """
    assert spelling.place is not None
    model, own = configured(network, spelling), network.state_dict()
    left, tensors, name = set(dict(network.named_parameters())), dict[str, Tensor](), type(model).__name__
    for theirs, tensor in model.state_dict().items():
        at = spelling.place(theirs)
        if at.name not in own:
            raise InputError(f"diffusers' {name} has {theirs!r}, for which there is nothing in this network")
        tensors[theirs] = own[at.name].chunk(at.parts)[at.part]
        if tensors[theirs].shape != tensor.shape:
            found = f"{tuple(own[at.name].shape)} here, {tuple(tensor.shape)} there"
            raise InputError(f"diffusers' {name}: {theirs!r} has another shape: {found}")
        left.discard(at.name)
    if left:
        raise InputError(f"diffusers' {name} has no place for {min(left)!r} of this network")
    model.load_state_dict(tensors)
    adjust(model, spelling)
    return model


def adjust(model: Any, spelling: Spelling) -> None:
    """As a user does it, by the very lines that a model card prints."""
    exec(spelling.adjusted, {"model": model})


def check_equal(ours: Tensor, theirs: Tensor, what: str) -> None:
    """Raises InputError where two answers to the same question differ by more than TOLERANCE."""
    apart, largest = float((ours - theirs).abs().max()), max(1.0, float(ours.abs().max()))
    if ours.shape != theirs.shape or not apart <= TOLERANCE * largest:
        raise InputError(
            f"{what}: diffusers' model gives something else, by {apart:.2g} of {largest:.2g}: not exported"
        )


def imported(what: str = "a model of diffusers'") -> Any:
    """diffusers; raises InputError without it."""
    try:
        import diffusers
    except ImportError as error:
        raise InputError(f"{what} needs the library: pip install diffusers ({error})") from error
    return diffusers
