"""What the pages of tests show: rows of a tiny experiment with names that HTML must not read, and a report of forensics."""

from replication.harness.journal import Record

TITLE = 'A <script>alert("title")</script> & more'
LABEL = 'DPM++ 2M with "a long" <b>label</b> & sons'
MORE_ROWS = f"""
[[profiles.cpu.rows]]
label = '{LABEL}'
sampler = {{ name = "ddim", eta = 0.0 }}
spacing = "uniform"
steps = [{", ".join(map(str, range(1, 21)))}]
clip = "none"
[[profiles.cpu.rows]]
label = "again"
sampler = {{ name = "ddim", eta = 0.5 }}
spacing = "uniform"
steps = [3, 5, 7, 11]
clip = "none"
"""
FORENSICS = [
    {
        "choice": "a <b>", "from": "x", "to": "y", "metric.fd_before": 1.0, "metric.fd_after": 2.2, "metric.move": 1.2,
        "metric.move_low": 1.0, "metric.move_high": 1.4, "paired": "no", "verdict": "moves it", "title": "tiny & more",
        "distance": "FD-digits", "cell": "key", "protocol.name": "tiny", "protocol.n": 16,
        "protocol.reference": "digits test", "protocol.extractor": "digits-cnn",
    },
    {
        "choice": "TF32", "verdict": "not changed", "because": "needs CUDA", "title": "tiny & more",
        "distance": "FD-digits", "cell": "key",
    },
]  # fmt: skip


def record(fd: float, steps: int, key: str, label: str) -> Record:
    row: Record = {"experiment": "tiny", "profile": "cpu", "cell": key, "label": label, "sampling.nfe": steps}
    row |= {"protocol.name": "tiny", "protocol.n": 16, "protocol.quantizer": "round", "env.device": "a <fast> machine"}
    for name, value in {"metric.fd": fd, "metric.fd_infinity": fd, "metric.kid": fd / 100, "metric.is": 8.0}.items():
        row |= {name: value, f"{name}_low": value * 0.9, f"{name}_high": value * 1.1, f"{name}_se": value * 0.05}
    row |= {f"timing.seconds_{name}": steps / 1000 for name in ("per_image", "low", "high")}
    return {**row, "timing.chunks": 7}
