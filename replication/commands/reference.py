"""`replicate reference list`, `fetch`, `make`: moments in the place of a reference's images."""

import argparse
from collections.abc import Mapping

from replication.commands.measure import BATCH
from replication.commands.options import device_of
from replication.download import data_home
from replication.files import expanded, printable
from replication.harness.home import state
from replication.harness.images import Shape, open_images
from replication.harness.measuring import kept_features, real_features
from replication.harness.references import HANDED, fetch, handed, make
from replication.harness.subjects import protocol_for
from replication.harness.workplace import Workplace
from replication.metrics.extractor import Extractor
from replication.registry import DATASETS, EXTRACTORS
from replication.report.tables import Table
from replication.settings import Part
from replication.terminal import show

COLUMNS = ["name", "what", "images", "here", "licence", "address"]


def list_references(options: argparse.Namespace) -> None:
    lines = []
    for one in HANDED.values():
        images, here = f"{one.n:,}" if one.n else "not stated", "yes" if one.file.is_file() else "no"
        lines.append([one.name, one.what, images, here, one.licence, one.url])
    show(str(Table(COLUMNS, lines)), options.all)


def fetch_references(options: argparse.Namespace) -> None:
    for one in [handed(name) for name in options.names]:
        print(f"{one.name}: {fetch(one)}; licence: {one.licence}")


def make_reference(options: argparse.Namespace) -> None:
    """Of the images at a path or of a dataset's split, by the extractor of the protocol."""
    place, path = Workplace(state(), device_of(options.device), BATCH), expanded(options.subject, "HOME")
    settings = dict(options.set)
    if path.exists():
        images, source = open_images(path), printable(path)
        extractor = _extractor(images.of_image, "none", options.protocol, settings)
        features = kept_features(images, images.fingerprint, extractor, "none", place)
    else:
        dataset = Part(name=options.subject).build(DATASETS)
        source = f"{options.subject} {options.split}, {dataset.preprocessing}"
        extractor = _extractor(dataset.shape, dataset.preprocessing, options.protocol, settings)
        features = real_features(dataset.load(options.split), extractor, dataset.preprocessing, place)
    kept = data_home() / "references" / f"{options.name}.npz"
    out = expanded(options.name, "NAME") if options.name.endswith(".npz") else kept
    moments = make(features, source, out)
    print(f"wrote {out}: {moments.title}; SHA-256 {moments.sha256}")


def _extractor(shape: Shape, preprocessing: str, named: str | None, settings: Mapping[str, str]) -> Extractor:
    extractor: Extractor = protocol_for(shape, preprocessing, named, settings).extractor.build(EXTRACTORS)
    extractor.ensure()
    return extractor
