"""A local server of files at their paths, and of a Hub's list of the files of a model; cut off where it is asked to be."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from local_http import first_byte, listening, send

# of an experiment on published weights whose images nobody has: the training behind them, and a protocol but for its labels
PUBLISHED_TRAINING = "training = { steps = 9, batch_size = 4, learning_rate = 1e-4, warmup = 0, grad_clip = 0, ema_decay = 0.9, flip = false }"
PROTOCOL = """[profiles.paper.protocol]
name = "rehearsal"
n = 10
seeds = [0]
quantizer = "round"
reference = "train"
preprocessing = "crop, bicubic"
extractor = "cifar10-resnet"
resamples = 3
moments = "real-images"
"""


@dataclass
class Hub:
    """files: by their path after the address, those of a model as "org/model/PATH"."""

    files: dict[str, bytes]
    models: tuple[str, ...] = ()
    url: str = ""
    cut_after: int | None = None  # bytes of an answer, of files longer than that
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)  # (path, Range, Authorization)

    def tree(self, model: str) -> list[Mapping[str, object]]:
        entries = []
        for path, content in self.files.items():
            if path.startswith(f"{model}/"):
                lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
                big = {"lfs": lfs} if len(content) > 1000 else {}
                entries.append(
                    {"type": "file", "path": path[len(model) + 1 :], "size": len(content), "oid": "0" * 40, **big}
                )
        return entries

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, asked = handler.path.partition("?")[0].lstrip("/"), handler.headers["Range"]
        self.requests.append((path, asked, handler.headers["Authorization"]))
        for model in self.models:
            if path.startswith(f"api/models/{model}/tree/"):
                return send(handler, json.dumps(self.tree(model)).encode())
            path = path.replace(f"{model}/resolve/main/", f"{model}/")
        if path not in self.files:
            return handler.send_error(404)
        send(handler, self.files[path], first_byte(asked), self.cut_after)


@contextmanager
def serving(files: dict[str, bytes], *models: str) -> Iterator[Hub]:
    hub = Hub(files, models)
    with listening(hub.answer) as hub.url:
        yield hub
