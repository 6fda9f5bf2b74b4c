"""Fixed captions of a labelled dataset where nobody wrote any: several per class, made from its name by templates."""

from collections.abc import Sequence


def captions(names: Sequence[Sequence[str]], templates: Sequence[str]) -> tuple[str, ...]:
    """What a dataset's `captions` are: those of one class together, in the order of the templates.

    names[k] are the one or several names of class k. A template has {0}, {1}, ... where a name stands, and {a0}, {a1},
    ... where a name stands with its article.
    """
    return tuple(_filled(template, of_class) for of_class in names for template in templates)


def _filled(template: str, names: Sequence[str]) -> str:
    articled = {f"a{i}": f"{_article(name)} {name}" for i, name in enumerate(names)}
    return template.format(*names, **articled)


def _article(name: str) -> str:
    """By sound: an eight, an 8, but a one."""
    return "an" if name[0] in "aeiou8" and name != "one" else "a"
