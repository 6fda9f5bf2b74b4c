"""The claims as the page shows them: each with an answer, what it was measured on, and how sure that is.

Where a claim was judged on several sets of images, the larger images come first: photographs before digits. Of the same
size, the larger number of them does.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from replication.datasets.dataset import Dataset
from replication.harness.jobs.cell import Cell
from replication.registry import DATASETS
from replication.report.claims import Claim, Evidence, Verdict, judge, notes, verdict_table
from replication.report.claims.claim import Exact, Point
from replication.report.claims.verdict import BLIND, LEADS, NEITHER, Answer, NotTested, capitalised, marks
from replication.settings import Part

WORDS = ("supported", "refuted", "inconclusive", "does not discriminate", "not tested")
GROUPS = {"answered": "Answered", "open": "Open", "untested": "Not tested"}
COMPUTED = "computed, not measured"
Shown = dict[str, Any]  # what the template reads


class Bar(NamedTuple):
    """A verdict on the scale that it shares with the others of its answer: places in percent of the width."""

    verdict: Verdict
    figure: str
    at: float
    ends: tuple[float, float]
    needed: tuple[float, float]  # where, and how wide
    published: float | None


def size(evidence: Evidence) -> int:
    """How many values an image of the table's data has; 0 of a table without cells."""
    cells = evidence.cells
    return pixels(cells[0].recipe.build_dataset()) if cells else 0


def pixels(dataset: Dataset) -> int:
    """Values of an image."""
    return dataset.channels * dataset.resolution**2


def described(dataset: Dataset) -> str:
    """In words: "digits, 8 × 8 grey"."""
    return (
        f"{dataset.name}, {dataset.resolution} × {dataset.resolution} {'grey' if dataset.channels == 1 else 'colour'}"
    )


def data_of(claim: Claim, evidence: Evidence) -> list[Dataset]:
    """What the claim is about in this profile, the largest images first; nothing where it is about exact quantities."""
    parts = [cell.recipe.dataset for cell in cells_of(claim, evidence)]
    if isinstance(of_claim := getattr(claim, "dataset", None), Part):
        parts = [of_claim]
    found = {str(part): part for part in parts}.values()
    return sorted((part.build(DATASETS) for part in found), key=pixels, reverse=True)


def cells_of(claim: Claim, evidence: Evidence) -> list[Cell]:
    """Those that it names and this profile has; where it names nothing, all of the table."""
    named, found = list(claim.named()), []
    for point in named:
        if isinstance(point, Point):
            with suppress(NotTested):
                found.append(evidence.cell(point))
    return found if named else evidence.cells


def board(evidence: Sequence[Evidence]) -> list[Shown]:
    """Every claim once; profiles that agree are named together, and those without a verdict only if none has one."""
    claims: dict[tuple[str, str], Claim] = {}
    found: dict[tuple[str, str], dict[tuple[Verdict, ...], list[Evidence]]] = {}
    for e in evidence:
        for claim in e.claims:
            which = (e.experiment.name, claim.name)
            claims[which] = claim
            found.setdefault(which, {}).setdefault(tuple(judge(claim, e)), []).append(e)
    return [_judged(claims[which], *which, found[which]) for which in claims]


def _judged(claim: Claim, experiment: str, name: str, found: Mapping[tuple[Verdict, ...], list[Evidence]]) -> Shown:
    tested = [verdicts for verdicts in found if any(v.word != "not tested" for v in verdicts)]
    tested.sort(key=lambda verdicts: max(map(pixels, data_of(claim, found[verdicts][0])), default=0), reverse=True)
    readings = [_reading(claim, verdicts, found[verdicts]) for verdicts in tested or list(found)[:1]]
    leads = {answer.lead for answer in readings[0]["answers"]}
    group = "open" if LEADS["inconclusive"] in leads else "untested" if leads <= {NEITHER, BLIND} else "answered"
    untried = [e for verdicts, of in found.items() if verdicts not in tested for e in of if e.jobs and not e.rows]
    return {
        "claim": claim,
        "experiment": experiment,
        "anchor": f"claim-{experiment}-{name}",
        "group": group,
        "readings": readings,
        "differ": _differ(readings),
        "untried": untried if tested else [],
    }


def headline(claims: Sequence[Shown]) -> Shown:
    """The first claim, with the answers to those that repeat it of a special case: "..., on latents"."""
    first, statement = claims[0], claims[0]["claim"].statement
    special = [
        reading | {"on": reading["on"] + judged["claim"].statement.removeprefix(statement)}
        for judged in claims[1:]
        if judged["claim"].statement.startswith(statement)
        for reading in judged["readings"]
        if reading["on"]
    ]
    readings = sorted([*first["readings"], *special], key=lambda reading: reading["size"], reverse=True)
    return first | {"readings": readings, "differ": _differ(readings)}


def _differ(readings: Sequence[Shown]) -> str:
    """Where the answers are not the same; of two profiles on the same images the first counts."""
    on = {reading["on"]: tuple(answer.lead for answer in reading["answers"]) for reading in reversed(readings)}
    return f"The answers {' and '.join(reversed(on))} differ." if len(set(on.values())) > 1 else ""


def _reading(claim: Claim, verdicts: Sequence[Verdict], evidence: Sequence[Evidence]) -> Shown:
    """Of the profiles that agree in it."""
    tested = any(v.word != "not tested" for v in verdicts)
    data, counts = data_of(claim, evidence[0]), {cell.protocol.n for cell in cells_of(claim, evidence[0])}
    exact = any(isinstance(subject, Exact) for subject in claim.named())
    on = COMPUTED if exact or not data else f"on {' and '.join(map(described, data))}"
    return {
        "profiles": [e.profile for e in evidence],
        "on": on if tested else "",
        "size": (max(map(pixels, data), default=0), max(counts, default=0)),
        "images": f", {' or '.join(f'{n:,}' for n in sorted(counts))} images a row" if counts else "",
        "answers": claim.answers(verdicts),
        "marks": " ".join(marks(verdicts)),
        "words": counted(v.word for v in verdicts),
        "table": verdict_table(verdicts).led_by("definition", "verdict", "measured [95 %]"),
        "notes": notes(verdicts),
    }


def sentence(text: str, lead: str) -> tuple[str, str]:
    """An answer in two parts: `lead`, and what follows it. A number stays in its line with its "%"."""
    start, rest = text[: len(lead)], text[len(lead) :].replace(" %", "\u00a0%")
    if start.lower() == lead and not rest[:1].isalpha():
        return capitalised(lead), rest
    return capitalised(lead), f": {start[:1].lower() if start[1:2].islower() else start[:1]}{start[1:]}{rest}"


def counted(words: Iterable[str]) -> list[tuple[str, int]]:
    """The words with their numbers, in their own order."""
    counts = Counter(words)
    return [(word, counts[word]) for word in WORDS if counts[word]]


def bars(answer: Answer) -> list[Bar]:
    """The verdicts that have a figure, on one scale from 0; none where they do not need the same, or something endless."""
    shown = [v for v in answer.verdicts if v.value is not None]
    needed = {v.needed for v in shown}
    if len(needed) != 1 or max(map(abs, (band := needed.pop()))) == float("inf"):
        return []
    places = [place for v in shown for place in (*band[:2], v.value, v.low, v.high, v.published) if place is not None]
    low, high = min(0.0, *places), 1.02 * max(0.0, *places)

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 1)

    return [
        Bar(
            v,
            figure(v, answer.share),
            at(value),
            (at(value if v.low is None else v.low), at(value if v.high is None else v.high)),
            (at(band.low), round(at(band.high) - at(band.low), 1)),
            None if v.published is None else at(v.published),
        )
        for v in shown
        if (value := v.value) is not None
    ]


def figure(verdict: Verdict, share: bool) -> str:
    """A verdict's number with its interval, in percent where it is a share."""
    ends = (verdict.value, verdict.low, verdict.high)
    value, *interval = (_printed(end, share) for end in ends if end is not None)
    return f"{value}{' %' if share else ''}" + (f" [{', '.join(interval)}]" if interval else "")


def _printed(value: float, share: bool) -> str:
    return f"{100 * value:.0f}" if share else f"{value:.3g}"


def sureness(answer: Answer) -> Iterator[str]:
    """How far the intervals reach of the readings that are undecided, and of those that are decided."""
    sides = {"inconclusive": "too wide to tell whether it is", "refuted": "outside", "supported": "inside"}
    for kind, words in (("Undecided", {"inconclusive"}), ("Decided", {"refuted", "supported"})):
        of = [v for v in answer.verdicts if v.word in words]
        ends = [end for v in of for end in (v.low, v.high) if end is not None]
        if ends:
            low, high = (_printed(end, answer.share) for end in (min(ends), max(ends)))
            side = " or ".join(dict.fromkeys(sides[v.word] for v in of))
            unit, band = " %" if answer.share else "", needed(of[0], answer.share)
            yield f"{kind} readings have 95 % intervals from {low} to {high}{unit}, {side} {band}."


def needed(verdict: Verdict, share: bool) -> str:
    """Where the figure must lie, in percent where it is a share."""
    band = verdict.needed
    return f"{100 * band.low:.0f} to {100 * band.high:.0f} %" if share and not band.endless else str(band)
