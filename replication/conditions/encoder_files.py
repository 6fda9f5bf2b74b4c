"""The files of a pretrained text encoder: where they are, whether all are there, and the SHA-256 that enters keys.

A folder is laid out as the Hugging Face Hub has it: config.json, model.safetensors (or its shards and their index) and
the tokenizer's files together, or in `text_encoder` and `tokenizer` as in a pipeline. It is given as a folder, or as the
id of a model on the Hub, which `replicate weights fetch` brought here or which is in the Hub's cache. Nothing is
downloaded unasked: the files' SHA-256 is part of a key, so that a plan would fetch gigabytes.
"""

import json
import os
import re
from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from replication.conditions.captions import Captioned
from replication.conditions.condition import LabelledDataset
from replication.download import RECORD, data_home
from replication.files import expanded, file_sha256
from replication.settings import content_key
from replication.types import InputError

TOKENIZER_FILES = (
    "tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json",
)  # fmt: skip
# what save_pretrained writes about the place and the program, which change no number
_ABOUT_THE_FILE = {"_name_or_path", "name_or_path", "transformers_version", "is_local", "tokenizer_class"}


@dataclass(frozen=True)
class EncoderKind:
    """What a condition, or something else that reads texts, needs of a folder."""

    user: str  # as a message begins: "condition 'clip-text'"
    model_types: tuple[str, ...]  # of config.json
    tokenizer: str  # the classes of transformers
    network: str  # empty where the tokenizer alone is read
    tokenizer_files: tuple[tuple[str, ...], ...]  # sets of files, any one of which will do
    example: str  # a repository of the Hub that has all of it
    otherwise: str = "option model = that folder; or use condition 'text', which needs no files"  # how a message ends
    suffix: str = ""  # of a pipeline's folders, where it has several encoders: "_2" of text_encoder_2 and tokenizer_2

    def error(self, message: str) -> InputError:
        of_network = ["config.json", "model.safetensors"] if self.network else []
        files = [*of_network, *self.tokenizer_files[0], "tokenizer_config.json"]
        if self.suffix:
            folders = [f"text_encoder{self.suffix}/"] * 2 + [f"tokenizer{self.suffix}/"] * (len(files) - 2)
            files = [folder + file for folder, file in zip(folders, files, strict=True)]
        return InputError(
            f"{self.user}: {message}. `replicate weights fetch {self.example}` fetches it; or put "
            f"https://huggingface.co/{self.example}/resolve/main/FILE into a folder for FILE = {', '.join(files)}, then "
            f"{self.otherwise}"
        )


@dataclass(frozen=True)
class EncoderFiles:
    """Files that are all there; equal if nothing was written since."""

    folder: Path  # of config.json and the weights
    tokenizer: Path
    paths: tuple[Path, ...]
    written: tuple[int, ...]  # nanoseconds, of every path

    @property
    def sha256(self) -> str:
        """Of names and contents, wherever the folder lies; read once per process and change."""
        return _sha256(self)


class FromFiles(Captioned):
    """Captions by encoders from elsewhere. model: a folder, or the id of a model on the Hub, see the module.

    Keys hold the content of the files in the place of their path; until they are here, what no files have.
    tokens_alone: whether a tokenizer is all that it reads.
    """

    tokens_alone = False

    def __init__(self, model: str, dropout: float):
        super().__init__(dropout)
        self.model = model

    @abstractmethod
    def encoders(self) -> tuple[EncoderFiles, ...]:
        """The files of each; raises InputError where some are missing."""

    @property
    def here(self) -> bool:
        """Whether there is anything under the model's name on this machine."""
        return root_of(self.model) is not None

    @property
    def lacking(self) -> str:
        return self.model if re.fullmatch(r"[\w.-]+/[\w.-]+", self.model) and not self.here else ""

    def ensure(self, dataset: LabelledDataset) -> None:
        self.encoders()
        super().ensure(dataset)

    def _fixed_by(self) -> tuple[Hashable, ...]:
        return self.encoders()

    def identity(self, described: dict[str, Any], dataset: LabelledDataset) -> dict[str, Any]:
        options = {k: v for k, v in described["options"].items() if k not in ("model", "weights")}
        found = [files.sha256 for files in self.encoders()] if self.here else ["not here"]
        encoder = found[0] if len(found) == 1 else found
        return super().identity({**described, "options": options, "encoder": encoder}, dataset)


def located(model: str, kind: EncoderKind, weights: Path | None = None) -> EncoderFiles:
    """The files of `model`: a folder, or the id of a model on the Hub that was downloaded.

    weights: a file that holds the network in the place of the folder's, which then needs the tokenizer alone.

    Raises InputError, which names what to fetch, where a file is missing, of another kind of model, or a pickle.
    """
    if (root := root_of(model)) is None:
        raise kind.error(f"model {model!r} is no folder, was not fetched, and is not in the Hub's cache")
    parts = (root / f"{part}{kind.suffix}" for part in ("text_encoder", "tokenizer"))
    folder, tokenizer = (part if part.is_dir() or kind.suffix else root for part in parts)
    if not any(all((tokenizer / name).is_file() for name in names) for names in kind.tokenizer_files):
        wanted = " or ".join(" + ".join(names) for names in kind.tokenizer_files)
        raise kind.error(f"{tokenizer} has no tokenizer ({wanted})")
    of_tokenizer = [tokenizer / name for name in TOKENIZER_FILES if (tokenizer / name).is_file()]
    paths = [] if weights is None else [weights]
    if kind.network and weights is None:
        paths = [folder / "config.json", *_weights(folder, kind)]
        if (found := _json(paths[0], kind).get("model_type")) not in kind.model_types:
            raise kind.error(f"{paths[0]} is of model_type {found!r}, not {' or '.join(kind.model_types)}")
    every = (*paths, *of_tokenizer)
    return EncoderFiles(folder, tokenizer, every, tuple(path.stat().st_mtime_ns for path in every))


def root_of(model: str) -> Path | None:
    """The folder of that name, of what was fetched under it, or in the Hub's cache; None where there is none of them."""
    given, fetched = expanded(model, "model"), data_home() / "weights" / model
    if given.is_dir():
        return given
    if (fetched / RECORD).is_file():
        return fetched
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    cache = expanded(os.environ.get("HF_HUB_CACHE") or Path(home, "hub"), "HF_HOME")
    repository = cache / f"models--{model.replace('/', '--')}"
    try:
        commit = (repository / "refs" / "main").read_text().strip()
    except (OSError, ValueError):
        return None
    return repository / "snapshots" / commit


def _weights(folder: Path, kind: EncoderKind) -> list[Path]:
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if index.is_file():
        shards = [folder / name for name in sorted(set(_json(index, kind).get("weight_map", {}).values()))]
        missing = [shard.name for shard in shards if not shard.is_file()]
        if missing or not shards:
            raise kind.error(f"{index} names shards that are missing: {', '.join(missing) or 'none at all'}")
        return [index, *shards]
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    only = f", only {pickles[0]}, a pickle, and pickles are never opened" if pickles else ""
    raise kind.error(f"{folder} has no model.safetensors{only}")


def _json(path: Path, kind: EncoderKind) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise kind.error(f"{path} is missing") from error
    except (OSError, ValueError, TypeError) as error:
        raise kind.error(f"{path} can't be read ({error})") from error


@cache  # the weights are gigabytes
def _sha256(files: EncoderFiles) -> str:
    return content_key([[path.name, _content(path)] for path in files.paths])


def _content(path: Path) -> Any:
    if path.name not in ("config.json", "tokenizer_config.json"):
        return file_sha256(path)
    return {k: v for k, v in json.loads(path.read_text()).items() if k not in _ABOUT_THE_FILE}
