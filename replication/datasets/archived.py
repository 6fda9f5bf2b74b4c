"""A dataset that is published as one archive and fits in the memory: downloaded once, or added from a local copy.

It is kept under `$REPLICATION_DATA` as one safetensors file per split. To add one, write its file with an `Archived` in
it; while the fingerprints are not known, `replicate data add NAME ARCHIVE` refuses what it reads and states them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from replication.datasets.dataset import Dataset, Split
from replication.datasets.sources import read_copy
from replication.download import Remote, data_home, download
from replication.files import locked, write_atomically
from replication.types import InputError


@dataclass(frozen=True)
class Archived(Dataset):
    """`remote` is a tar or zip of image files or of binary records; sources.py reads it, and other local copies.

    records: split -> the names of its files in an archive of records, each `labels` bytes, of which the last is the
    label, and then C*H*W bytes, channel by channel. Without them the archive holds {train,test}/CLASS/*.png.
    """

    remote: Remote
    records: Mapping[str, tuple[str, ...]] = field(default_factory=dict, kw_only=True)
    labels: int = field(default=1, kw_only=True)  # label bytes of a record: CIFAR-100 has a coarse one before the fine

    @property
    def folder(self) -> Path:
        return data_home() / self.name

    def file(self, split: str) -> Path:
        """The split's safetensors: `images: uint8 [N,C,H,W]`, `labels: int64 [N]`, in canonical order."""
        return self.folder / f"{split}.safetensors"

    def present(self) -> bool:
        return all(self.file(split).exists() for split in self.fingerprints)

    def add(self, path: str | PathLike[str]) -> None:
        """Import from parquet shards, a PNG folder or the published archive; raises RunError where it can't be stored."""
        splits = self._import(Path(path))
        with locked(self.folder / ".lock", f"dataset {self.name}"):
            self._store(splits)

    def _import(self, path: Path) -> dict[str, Split]:
        """The splits of a copy, all of which are checked before any is stored."""
        examples = read_copy(path, self, self.records, self.labels)
        splits = {split: Split.of(images, labels) for split, (images, labels) in examples.items()}
        for split, content in splits.items():
            self._require(split, content, f"{path} is refused and nothing was stored")
        return splits

    def _store(self, splits: Mapping[str, Split]) -> None:
        for split, content in splits.items():
            tensors = {"images": content.images, "labels": content.labels}
            write_atomically(self.file(split), safetensors.torch.save(tensors))

    def _read(self, split: str) -> Split:
        if not self.present():
            with locked(self.folder / ".lock", f"dataset {self.name}"):
                if not self.present():  # another process may have been faster
                    archive = self.folder / self.remote.filename
                    download(self.remote, archive, f"a copy on disk will do: {self._command}")
                    self._store(self._import(archive))
                    archive.unlink()
        try:
            tensors = safetensors.torch.load_file(self.file(split))
            images, labels = tensors["images"].numpy(), tensors["labels"].numpy()
            return Split.of(images.transpose(0, 2, 3, 1), labels)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise InputError(f"{self._blame(split)}: it cannot be read ({error})") from error

    def _whereabouts(self) -> str:
        if self.present():
            return f"stored in {self.folder}"
        return f"not here: downloaded on first use ({self.remote.megabytes}), or {self._command}"

    def _blame(self, split: str) -> str:
        return f"{self.file(split)} is corrupt; delete it to download it again, or repair it with {self._command}"

    @property
    def _command(self) -> str:
        return f"`replicate data add {self.name} PATH`"
