"""`inception-v3-compat`: Inception-2015-12-05 as torch-fidelity ports it, the only extractor whose distance is FID.

The network and its TensorFlow-like resizing are torch-fidelity's. The weights are read here: torch-fidelity 0.4.0
unpickles both its download and a file given by path, and checks the hash of neither. Here a pickle is only ever opened
with `weights_only`, and what torch-fidelity is handed is a copy of those tensors written by this process.
"""

import hashlib
import io
import os
import pickle
import urllib.request
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_fidelity import __version__ as fidelity_version
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3 as URL
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from replication.metrics.extractor import Extractor, metric_labels
from replication.registry import EXTRACTORS
from replication.types import InputError

VARIABLE = "REPLICATION_INCEPTION_WEIGHTS"
FILE_NAME = URL.rsplit("/", 1)[1]
SHA256_PREFIX = FILE_NAME.removesuffix(".pth").rsplit("-", 1)[1]  # publishers put the hash's start in the name
PATIENCE = 5.0  # seconds for a first answer from the download server


@EXTRACTORS.register("inception-v3-compat")
class InceptionExtractor(Extractor):
    """2048 pooled features and 1008 unbiased logits; grey images are repeated to three channels.

    `weights`: path of the file; else the environment variable REPLICATION_INCEPTION_WEIGHTS; else torch hub's
    checkpoint folder, where torch-fidelity keeps it and to which `ensure` downloads it. Weights with another hash than
    the published file's are accepted, but their distances are labelled FD-inception-<hash>, not FID.
    """

    name = "inception-v3-compat"
    version = f"torch-fidelity-{fidelity_version}"
    layers = ("2048", "logits_unbiased")
    published_sha256 = SHA256_PREFIX

    def __init__(self, weights: str | None = None):
        given = weights or os.environ.get(VARIABLE)
        self._given = given is not None
        self.path = Path(given).expanduser() if given else Path(torch.hub.get_dir()) / "checkpoints" / FILE_NAME

    @property
    def labels(self) -> dict[str, str]:
        if not self.present or self.sha256.startswith(SHA256_PREFIX):
            return metric_labels(None)
        return metric_labels(f"inception-{self.sha256[:8]}")

    @cached_property
    def sha256(self) -> str:
        self.ensure()
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def present(self) -> bool:
        return self.path.is_file()

    def ensure(self) -> None:
        """Find the weights or download them (95 MB); raises InputError within seconds where neither can be done."""
        if self.present:
            return
        if self._given:
            raise InputError(f"extractor {self.name!r}: no weights file {self.path} (option `weights` or ${VARIABLE})")
        try:
            urllib.request.urlopen(urllib.request.Request(URL, method="HEAD"), timeout=PATIENCE).close()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(URL, str(self.path), hash_prefix=SHA256_PREFIX)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"extractor {self.name!r}: no weights at {self.path}, and the download failed ({error}). Fetch "
                f"{URL} where there is a network, and put it there or set {VARIABLE} to its path; "
                "or use the extractor 'digits-cnn', which needs no download"
            ) from error

    def _load(self) -> Any:
        self.ensure()
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            copy = io.BytesIO()
            torch.save(state, copy)
            copy.seek(0)
            return FeatureExtractorInceptionV3(self.name, list(self.layers), feature_extractor_weights_path=copy)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"extractor {self.name!r}: {self.path} is not the Inception weights ({reason})") from error

    def prepare(self, images: Tensor) -> Tensor:
        channels = images.shape[1]
        if channels not in (1, 3):
            raise InputError(f"extractor {self.name!r} takes 1 or 3 channels, got {list(images.shape)}")
        return images.expand(-1, 3, -1, -1)
