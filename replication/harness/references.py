"""References by moments on this machine: which are handed out, where they are kept, and how one is made.

They lie in $REPLICATION_DATA/references as NAME.npz. A protocol's key `moments` and `replicate measure --reference` take a name
or a path.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from replication import download
from replication.download import Remote, data_home
from replication.files import expanded
from replication.metrics.features import Features
from replication.metrics.frechet import fit
from replication.metrics.moments import Moments, read_moments, write_moments
from replication.registry import unknown
from replication.types import InputError


class Handed(NamedTuple):
    """A file of moments that a project hands out; n is left out where the source does not state it."""

    name: str
    what: str
    url: str
    licence: str
    n: int | None = None

    @property
    def file(self) -> Path:
        return data_home() / "references" / f"{self.name}.npz"


_ADM = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches"
_EDM = "https://nvlabs-fi-cdn.nvidia.com/edm/fid-refs"
_MIT, _NC, _IMAGENET = "MIT, the repository's; none stated for the file", "CC-BY-NC-SA-4.0", 1_281_167
# guided-diffusion's evaluations/README.md, whose files have 10,000 images too, for precision and recall; edm's README.md
_HANDED = (
    Handed("adm-imagenet64", "ImageNet 64, ADM's", f"{_ADM}/imagenet/64/VIRTUAL_imagenet64_labeled.npz", _MIT, _IMAGENET),
    Handed("adm-imagenet128", "ImageNet 128, ADM's", f"{_ADM}/imagenet/128/VIRTUAL_imagenet128_labeled.npz", _MIT, _IMAGENET),
    Handed("adm-imagenet256", "ImageNet 256, ADM's", f"{_ADM}/imagenet/256/VIRTUAL_imagenet256_labeled.npz", _MIT, _IMAGENET),
    Handed("adm-imagenet512", "ImageNet 512, ADM's", f"{_ADM}/imagenet/512/VIRTUAL_imagenet512.npz", _MIT, _IMAGENET),
    Handed("adm-bedrooms", "LSUN bedrooms 256, ADM's", f"{_ADM}/lsun/bedroom/VIRTUAL_lsun_bedroom256.npz", _MIT),
    Handed("adm-cats", "LSUN cats 256, ADM's", f"{_ADM}/lsun/cat/VIRTUAL_lsun_cat256.npz", _MIT),
    Handed("adm-horses", "LSUN horses 256, ADM's", f"{_ADM}/lsun/horse/VIRTUAL_lsun_horse256.npz", _MIT),
    Handed("edm-cifar10", "CIFAR-10, EDM's", f"{_EDM}/cifar10-32x32.npz", _NC, 50_000),
    Handed("edm-ffhq64", "FFHQ 64, EDM's", f"{_EDM}/ffhq-64x64.npz", _NC, 70_000),
    Handed("edm-afhqv2", "AFHQv2 64, EDM's", f"{_EDM}/afhqv2-64x64.npz", _NC),
    Handed("edm-imagenet64", "ImageNet 64, EDM's", f"{_EDM}/imagenet-64x64.npz", _NC, _IMAGENET),
    Handed("edm-imagenet64-baseline", "ImageNet 64 as ADM has it", f"{_EDM}/imagenet-64x64-baseline.npz", _NC, _IMAGENET),
)  # fmt: skip
HANDED = {one.name: one for one in _HANDED}


def handed(name: str) -> Handed:
    """The file of that name; raises InputError with the nearest one."""
    if name not in HANDED:
        raise unknown("reference", name, sorted(HANDED))
    return HANDED[name]


def fetch(one: Handed) -> Path:
    """Download it unless it is here, and read it once; raises InputError where that fails."""
    otherwise = f"a copy from elsewhere will do, by its path: --reference FILE.npz ({one.url})"
    download.fetch(Remote(one.url, ""), one.file, otherwise)
    read_moments(one.file)
    return one.file


def located(named: str) -> Path:
    """The file of moments at that path or of that name; raises InputError for neither, and for one that is not here yet."""
    if (path := expanded(named, "protocol.moments")).is_file():
        return path
    if (kept := data_home() / "references" / f"{named}.npz").is_file():
        return kept
    if named in HANDED:
        raise InputError(f"moments = {named!r}: not here yet: `replicate reference fetch {named}`")
    made = sorted(file.stem for file in (data_home() / "references").glob("*.npz"))
    raise InputError(f"moments: no file {named}; {unknown('reference', named, sorted({*HANDED, *made}))}")


def moments_of(named: str) -> Moments:
    """Read from there, once as long as the file stays as it is; raises InputError as read_moments does."""
    path = located(named)
    return _read(path, path.stat().st_size, path.stat().st_mtime_ns)


@cache
def _read(path: Path, size: int, modified: int) -> Moments:
    known = next((one for one in _HANDED if one.file == path), None)
    return read_moments(path, known.what if known else path.name, known.n if known else None)


def make(features: Features, source: str, path: Path) -> Moments:
    """The moments of these features, written to the path; raises RunError where they can't be."""
    spatial = None if features.spatial is None else fit(features.spatial)
    moments = Moments(fit(features.values), spatial, len(features), source, features.extractor)
    write_moments(path, moments)
    return read_moments(path)
