"""Text as a pipeline of the diffusers library encodes it: what SD3's and FLUX's transformers, and others there, read.

The library's own `encode_prompt` makes the context and the pooled text, of the text encoders and tokenizers in the pipeline's
folder; what draws with them is the network "diffusers". diffusers is an optional dependency.
"""

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from replication.conditions.condition import LabelledDataset
from replication.conditions.encoder_files import EncoderFiles, FromFiles, root_of
from replication.layers.conditioning import joined
from replication.numerics import numerics
from replication.registry import CONDITIONS, one_of
from replication.types import InputError

INDEX = "model_index.json"
DRAWS = ("transformer", "vae", "image_encoder", "feature_extractor")  # parts that encode no text
PIPELINES = ("StableDiffusion3Pipeline", "FluxPipeline")
BATCH = 8  # texts that are encoded together


@CONDITIONS.register("pipeline-text")
class PipelineText(FromFiles):
    """Captions by the text encoders of a diffusers pipeline, SD3's or FLUX's (Esser et al. 2024).

    cond: Float[B,1+L,D], as `joined` makes it of the context [B,L,D] and the pooled text. model: the pipeline's folder, as
    `save_pretrained` writes it, or its id on the Hub; a key holds the content of its text parts. The null is the empty text,
    as in these pipelines. Raises InputError for another pipeline, and without diffusers.
    """

    def __init__(self, model: str, dropout: float = 0.1):
        super().__init__(model, dropout)

    @cached_property
    def files(self) -> EncoderFiles:
        """Of the text encoders and tokenizers."""
        if (root := root_of(self.model)) is None:
            raise InputError(
                f"condition 'pipeline-text': model {self.model!r} is no folder, was not fetched, and is not in the Hub's "
                "cache; `run --weights auto` fetches the text encoders of a model on the Hub"
            )
        if not (root / INDEX).is_file():
            raise InputError(
                f"{root / INDEX}: there is no such file; a pipeline's folder has one ({' or '.join(PIPELINES)})"
            )
        parts = sorted(part for part in root.iterdir() if part.name.startswith(("text_encoder", "tokenizer")))
        paths = [root / INDEX, *(path for part in parts for path in sorted(part.rglob("*")) if path.is_file())]
        return EncoderFiles(root, root, tuple(paths), tuple(path.stat().st_mtime_ns for path in paths))

    def encoders(self) -> tuple[EncoderFiles, ...]:
        return (self.files,)

    def encoded(self, texts: Sequence[str], dataset: LabelledDataset, device: torch.device) -> Tensor:
        pipeline, found = _pipeline(self.files), []
        # every encoder reads the same texts, and the null is encoded as any other text is
        arguments: dict[str, Any] = {"prompt_2": None, "device": torch.device("cpu")}
        if hasattr(pipeline, "text_encoder_3"):
            arguments |= {"prompt_3": None, "do_classifier_free_guidance": False}
        with torch.no_grad(), numerics("float32", device):
            for i in range(0, len(texts), BATCH):
                answer = pipeline.encode_prompt(list(texts[i : i + BATCH]), **arguments)
                context, pooled = (answer[0], answer[2]) if len(answer) == 4 else answer[:2]
                found.append(joined(context, pooled))
        return torch.cat(found).to(device)


@cache  # a sweep's cells share it
def _pipeline(files: EncoderFiles) -> Any:
    """The pipeline without what draws; raises InputError for files that are damaged or do not fit each other."""
    try:
        import diffusers
    except ImportError as error:
        raise InputError(f"condition 'pipeline-text' needs the library: pip install diffusers ({error})") from error
    name = diffusers.DiffusionPipeline.load_config(str(files.folder), local_files_only=True).get("_class_name")
    one_of(f"pipeline in {files.folder / INDEX}", name, PIPELINES)
    left = dict.fromkeys(DRAWS)
    try:
        diffusers.utils.logging.disable_progress_bar()
        pipeline = getattr(diffusers, name).from_pretrained(str(files.folder), local_files_only=True, **left)
        return pipeline.to(torch.float32)
    except Exception as error:  # the libraries behind it raise bare subclasses of Exception for bad files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{files.folder}: its text encoders and tokenizers can't be loaded ({reason})") from error
