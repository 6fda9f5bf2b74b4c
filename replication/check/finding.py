"""One line of a check: what was measured, what is needed, and whether that is so."""

from typing import NamedTuple


class Finding(NamedTuple):
    """`measured` and `needed` are texts to print; `ok` is the verdict."""

    name: str
    measured: str
    needed: str
    ok: bool


def at_most(name: str, value: float, bound: float) -> Finding:
    """An error, which must not exceed the bound; NaN does."""
    return Finding(name, f"{value:.3g}", f"at most {bound:g}", value <= bound)


def near(name: str, value: float, target: float, atol: float) -> Finding:
    """A value that must be the target to within atol."""
    return Finding(name, f"{value:.2f}", f"{target:g} +- {atol:g}", abs(value - target) <= atol)


def holds(name: str, measured: object, ok: bool, needed: str = "yes") -> Finding:
    """A fact, shown as it was found."""
    return Finding(name, str(measured), needed, ok)
