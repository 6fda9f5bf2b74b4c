"""A reference by the moments of its features alone: the .npz files that evaluators hand out in the place of images.

    mu [D], sigma [D,D]            Inception's pooled features: ADM's VIRTUAL_*.npz, EDM's fid-refs, JiT's, pytorch-fid's
    mu_s [S], sigma_s [S,S]        where it has them, of the feature map that sFID is made of (ADM's)
    n, source, extractor           that this suite adds

Against moments there are FID and sFID. What other images the reference could have been made of is not known, so an interval
is that of the generated images alone. Whose features they are, a file of others does not say; only the width shows.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from replication.files import file_sha256, replaced
from replication.metrics.features import Features
from replication.types import InputError

SYMMETRIC = 1e-4  # of the largest entry
NO_INTERVAL = "no interval for the reference"


class Gaussian(NamedTuple):
    """Mean [D] and covariance [D,D], float64."""

    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True, eq=False)
class Moments:
    """Of the features of n images; n is None, and source and extractor are empty, where nobody states them."""

    values: Gaussian
    spatial: Gaussian | None = None
    n: int | None = None
    source: str = ""
    extractor: str = ""
    sha256: str = ""

    @property
    def title(self) -> str:
        """What stands in the place of a reference's name, with what it cannot give."""
        count = f"{self.n:,} images" if self.n else "images whose number is not stated"
        return f"moments of {count}, {self.source}: {NO_INTERVAL}"

    def check(self, features: Features) -> None:
        """Raises InputError where these cannot be moments of such features."""
        if self.extractor and features.extractor and self.extractor != features.extractor:
            raise InputError(
                f"{self.source}: moments of {self.extractor}'s features, and these are {features.extractor}'s"
            )
        if (width := features.values.shape[1]) != len(self.values.mean):
            whose = features.extractor or "the extractor"
            raise InputError(
                f"{self.source}: moments of {len(self.values.mean)} features, and {whose} has {width}: another extractor's"
            )


def arrays_in(path: Path) -> set[str]:
    """The names of the arrays in an .npz; none of what is no .npz, or can't be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return set()


def read_moments(path: Path, source: str = "", n: int | None = None) -> Moments:
    """What the file holds; `source` and `n` are taken where it states none. Never unpickles.

    Raises InputError for a file without moments, and for numbers that are no moments.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in ("mu", "sigma") if name not in file.files]
            if missing:
                held = ", ".join(file.files) or "nothing"
                raise InputError(f"{path}: no moments, for it has no {' and no '.join(missing)}; it holds {held}")
            values = _gaussian(path, file["mu"], file["sigma"], "mu", "sigma")
            spatial = (
                _gaussian(path, file["mu_s"], file["sigma_s"], "mu_s", "sigma_s") if "sigma_s" in file.files else None
            )
            stated = {name: str(file[name]) for name in ("source", "extractor") if name in file.files}
            count = int(file["n"]) if "n" in file.files else n
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not readable as an .npz of moments ({error})") from error
    return Moments(
        values,
        spatial,
        count,
        stated.get("source") or source or path.name,
        stated.get("extractor", ""),
        file_sha256(path),
    )


def _gaussian(path: Path, mean: Any, covariance: Any, *names: str) -> Gaussian:
    of = dict(zip(names, (mean, covariance), strict=True))
    if odd := [name for name, array in of.items() if not (array.dtype.kind == "f" and np.isfinite(array).all())]:
        raise InputError(f"{path}: {odd[0]} is {of[odd[0]].dtype}, and has to be finite floats")
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise InputError(
            f"{path}: {names[0]} is {list(mean.shape)} and {names[1]} {list(covariance.shape)}, not [D] and [D,D]"
        )
    if np.abs(covariance - covariance.T).max() > SYMMETRIC * np.abs(covariance).max():
        raise InputError(f"{path}: {names[1]} is not symmetric: it is no covariance")
    return Gaussian(torch.from_numpy(mean.astype(np.float64)), torch.from_numpy(covariance.astype(np.float64)))


def write_moments(path: Path, moments: Moments) -> None:
    """As ADM's evaluator and others read them, with n, source and extractor beside; raises RunError if it can't be."""
    arrays: dict[str, Any] = {"mu": moments.values.mean.numpy(), "sigma": moments.values.covariance.numpy()}
    if moments.spatial is not None:
        arrays |= {"mu_s": moments.spatial.mean.numpy(), "sigma_s": moments.spatial.covariance.numpy()}
    arrays |= {"source": np.array(moments.source), "extractor": np.array(moments.extractor)}
    if moments.n:
        arrays["n"] = np.array(moments.n)
    with replaced(path) as partial, open(partial, "wb") as out:
        np.savez(out, allow_pickle=False, **arrays)
