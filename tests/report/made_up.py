"""Evidence with stated figures, for tests of verdicts: the tiny experiment, its DDIM at five step counts."""

import base64
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from harness.tiny import write_tiny

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.harness.journal import Record
from replication.registry import CLAIMS
from replication.report.claims import Claim, Evidence, Verdict, claims_of, judge

COMMON = {"name": "n", "statement": "s", "citation": "c", "minimum_profile": "cpu"}
Figure = tuple[float, float]  # value, standard error


def claim(kind: str, **fields: Any) -> Claim:
    """A claim of that kind as a TOML would say it."""
    return cast("type[Claim]", CLAIMS.get(kind)).model_validate({"kind": kind, **COMMON, **fields})


def ddim(steps: int) -> dict[str, Any]:
    """A point of the tiny experiment's DDIM row, which is run at 2 to 6 steps."""
    return {"label": "DDIM", "steps": steps}


def write_several_steps(folder: Path) -> Path:
    """The tiny experiment with DDIM at 2 to 6 steps, in folder/experiments."""
    published = 'published = [{ table = "t", row = "r" }]\n'
    return write_tiny(
        folder,
        ('spacing = "quadratic"\nsteps = [2]', 'spacing = "quadratic"\nsteps = [2, 3, 4, 5, 6]'),
        (published, ""),
    )


def evidence(folder: Path, columns: Mapping[str, Mapping[int, Figure]], profile: str = "cpu") -> Evidence:
    """Rows of DDIM at the steps that any column has a figure for; others are not run."""
    experiment = load_experiment(str(write_several_steps(folder)))
    rows = {}
    for cell in cells_of(experiment, "cpu"):
        figures = {column: of[cell.sampling.steps] for column, of in columns.items() if cell.sampling.steps in of}
        if cell.label == "DDIM" and figures:
            rows[cell.key] = {
                "cell": cell.key, "label": "DDIM", "sampling.steps": cell.sampling.steps, "protocol.n": 1600,
                "protocol.reference_n": 1600, "protocol.features": 16, "sampling.nfe": cell.sampling.steps, "env.device": "one", "timing.chunks": 7,
            }  # fmt: skip
            for column, (value, error) in figures.items():
                rows[cell.key] |= {column: value, f"{column}_se": error}
    return Evidence(experiment, profile, cells_of(experiment, "cpu"), rows)


PLACES = np.repeat([1.0, 2.0, 4.0, 8.0], 3)  # four sizes, three seeds each


def of_seeds(dit: np.ndarray, unet: np.ndarray, error: float = 0.0) -> Evidence:
    """experiments/scaling.toml with these distances [12] of either family at PLACES, parameters ten times the places."""
    experiment = load_experiment("scaling")
    cells = cells_of(experiment, "cpu")
    rows: dict[str, Record] = {}
    for family, distances in (("DiT", dit), ("U-Net", unet)):
        mine = sorted((cell for cell in cells if cell.label.startswith(family)), key=lambda cell: cell.label)
        for cell, place, distance in zip(mine, PLACES, distances, strict=True):
            rows[cell.key] = {
                "cell": cell.key, "label": cell.label, "sampling.steps": 50, "protocol.n": 1600,
                "protocol.reference_n": 1600, "protocol.features": 16, "metric.fd_infinity": float(distance), "metric.fd_infinity_se": error, "metric.kid": float(distance) / 10,
                "metric.kid_se": error / 10, "cost.multiply_adds": place, "cost.parameters": 10 * place,
            }  # fmt: skip
    return Evidence(experiment, "gpu", cells, rows, claims_of(experiment))


def row(of: Evidence, steps: int) -> dict[str, Any]:
    """The row of DDIM at so many steps, to be changed."""
    return next(record for record in of.rows.values() if record["sampling.steps"] == steps)


def words(judged: Claim, of: Evidence) -> list[str]:
    return [verdict.word for verdict in judge(judged, of)]


def only(judged: Claim, of: Evidence) -> Verdict:
    """The one verdict on a claim."""
    (verdict,) = judge(judged, of)
    return verdict


def unpacked(content: str) -> str:
    return zlib.decompress(base64.b64decode(content)).decode()


def opened(written: str) -> str:
    """The page with its compressed parts as they are when they are opened."""
    packed = r'<script type="application/zlib">(.*?)</script><noscript>.*?</noscript>'
    return re.sub(packed, lambda found: f"<noscript>{unpacked(found[1])}</noscript>", written, flags=re.DOTALL)
