"""Extractors whose weights others publish: a file given by path, found in torch hub's folder, or downloaded.

The networks are torch-fidelity's, the weights are read here: torch-fidelity 0.4 unpickles what it downloads or is
given, and checks the hash of neither. Here a pickle is only ever opened with `weights_only`.
"""

import os
import pickle
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_fidelity import __version__ as fidelity_version

from replication.download import Remote, fetch, weights_path
from replication.files import file_sha256
from replication.metrics.extractor import Extractor, metric_labels
from replication.types import InputError


class PublishedExtractor(Extractor):
    """Grey images are repeated to three channels. Subclasses name the file and build the network from its tensors.

    `weights`: path of the file; else the environment variable `variable`; else what download.py keeps, which `ensure`
    downloads. Weights with another hash than the published file's are accepted, but their distances are labelled with
    it: FD-inception-<hash>, never FID.
    """

    version = f"torch-fidelity-{fidelity_version}"
    remote: Remote
    variable: str
    family: str  # what its distances are called: FD-<family>
    is_fid = False  # whether the published weights are those whose distance is the FID

    def __init__(self, weights: str | None = None):
        given = weights or os.environ.get(self.variable)
        self._given = given is not None
        self.path = Path(given).expanduser() if given else weights_path(self.remote)

    @property
    def labels(self) -> dict[str, str]:
        if not self.present or self.published:
            return metric_labels(None if self.is_fid else self.family)
        return metric_labels(f"{self.family}-{self.sha256[:8]}")

    @cached_property
    def sha256(self) -> str:
        self.ensure()
        return file_sha256(self.path)

    @property
    def foreign_weights(self) -> str:  # type: ignore[override]
        return "" if not self.present or self.published else self.sha256

    @property
    def published(self) -> bool:
        """Whether the file is the published one; raises InputError where there is none."""
        return self.sha256.startswith(self.remote.sha256)

    @property
    def present(self) -> bool:
        return self.path.is_file()

    def ensure(self) -> None:
        """Find the weights or download them; raises InputError within seconds where neither can be done."""
        if self._given and not self.present:
            message = f"no weights file {self.path} (option `weights` or ${self.variable})"
            raise InputError(f"extractor {self.name!r}: {message}")
        fetch(
            self.remote,
            self.path,
            f"fetch it where there is a network, and put it at {self.path} or set {self.variable} to its path; or use an "
            "extractor that needs no download: 'cifar10-resnet' (32x32, colour), 'digits-cnn' (8x8, grey)",
        )

    def _state(self) -> dict[str, Tensor]:
        """The file's tensors by name; raises the errors that `_load` turns into one message."""
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
            raise RuntimeError("no tensors by name")
        return state

    @abstractmethod
    def _network(self, state: dict[str, Tensor]) -> Any:
        """The FeatureExtractorBase that answers `layers`; a LookupError, ValueError or RuntimeError: it does not fit."""

    def _load(self) -> Any:
        self.ensure()
        try:
            return self._network(self._state())
        except (pickle.UnpicklingError, LookupError, ValueError, RuntimeError, EOFError, OSError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
            raise InputError(f"extractor {self.name!r}: {self.path} does not hold its weights ({reason})") from error

    def prepare(self, images: Tensor) -> Tensor:
        if images.shape[1] not in (1, 3):
            raise InputError(f"extractor {self.name!r} takes 1 or 3 channels, got {list(images.shape)}")
        return images.expand(-1, 3, -1, -1)
