"""The card of weights that leave: Markdown under a YAML header as the Hub reads it, made of a row and of nothing else.

One generator for the checkpoints in the package and for folders in others' layouts. A figure stands with its interval and its
protocol, a recipe with every key; weights whose row was not measured say so.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from replication.files import file_sha256
from replication.harness.job import Job
from replication.harness.journal import Record

TASKS = {"none": "unconditional-image-generation", "label": "unconditional-image-generation", "text": "text-to-image"}
LICENCES = {"MIT": "mit", "Apache-2.0": "apache-2.0", "CC-BY-NC-4.0": "cc-by-nc-4.0", "CC0-1.0": "cc0-1.0"}  # the Hub's
SECTIONS = {
    "Recipe": ("recipe.", "first_stage."),
    "Sampling": ("sampling.",),
    "Protocol": ("protocol.",),
    "Provenance": ("checkpoint.", "env.", "measured.", "version."),
}


def model_card(
    job: Job,
    row: Record | None,
    papers: Sequence[str],
    files: Mapping[str, Path],
    licence: str,
    load: str,
    notes: Mapping[str, str] | None = None,
    library: str = "",
) -> str:
    """The whole text. `papers`: the experiment's, as its TOML has them. `files`: by the name that each has beside the card.

    `load`: Markdown that says how to use them; `notes`: further lines of the first table; `library`: the Hub's word for what
    loads them.
    """
    record = row or job.columns
    of = "recipe" if "recipe.dataset" in record else "first_stage"
    data, fingerprint = str(record[f"{of}.dataset"]), record[f"{of}.fingerprint"]
    figures = _figures(job, record)
    about = {
        **{name: f"`{path.stat().st_size:,}` bytes, SHA-256 `{file_sha256(path)}`" for name, path in files.items()},
        "row": f"{job.title} of `{job.experiment}`, profile `{job.profile}`",
        "data": f"`{data}`, SHA-256 of the training images `{fingerprint}`",
        "licence": licence,
        **(notes or {}),
    }
    parts = [
        f"{_header(job, data, record, figures, papers, licence, library)}\n\n# {title_of(job)}",
        _table("file or fact", "", about),
        f"## How to load\n\n{load}",
        f"## Figures\n\nUnder protocol {_protocol(record)}. In brackets, intervals of 95 %.\n\n"
        f"{_table('metric', 'value', {label: text for label, _, text in figures})}"
        if figures
        else "## Figures\n\nThis row was not measured.",
        *(f"## {heading}\n\n{table}" for heading, of in SECTIONS.items() if (table := _columns(record, of))),
        f"A replication of {', '.join(papers)}." if papers else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def title_of(job: Job) -> str:
    """As `replicate weights list` shows it."""
    return f"{job.experiment}, {job.profile}: {job.label}"


def title_in(card: str) -> str:
    """The title of a card's text."""
    return next(line.removeprefix("# ") for line in card.splitlines() if line.startswith("# "))


def _figures(job: Job, record: Record) -> list[tuple[str, str, str]]:
    """(label, metric, value with its interval), in the order of the metrics."""
    found = []
    for metric, label in job.protocol.metric_labels.items():
        if (value := record.get(column := f"metric.{metric}")) is not None:
            ends = [record.get(f"{column}_{end}") for end in ("low", "high")]
            found.append(
                (label, metric, f"{value:.4g}" + (f" [{ends[0]:.4g}, {ends[1]:.4g}]" if None not in ends else ""))
            )
    return found


def _header(
    job: Job,
    data: str,
    record: Record,
    figures: Sequence[tuple[str, str, str]],
    papers: Sequence[str],
    licence: str,
    library: str,
) -> str:
    from huggingface_hub import EvalResult, ModelCardData  # slow

    task, name = TASKS.get(str(record.get("recipe.condition", ""))), data.partition("(")[0]
    results = []
    for label, metric, _ in figures:
        ends = {end: record[column] for end in ("low", "high") if (column := f"metric.{metric}_{end}") in record}
        one = EvalResult(
            task_type=task or "image-to-image",
            dataset_type=name,
            dataset_name=data,
            metric_type=label.lower(),
            metric_name=label,
            metric_value=record[f"metric.{metric}"],
            metric_args={"protocol": _protocol(record), **ends},
        )
        results.append(one)
    known = LICENCES.get(licence.partition(",")[0])
    about = ModelCardData(
        license=known or "other",
        library_name=library or None,
        pipeline_tag=task,
        datasets=[name],
        tags=["diffusion", "replication", *(paper.lower() for paper in papers)],
        model_name=title_of(job) if results else None,
        eval_results=results or None,
        license_name=None if known else licence,
    )
    return f"---\n{about.to_yaml()}\n---"


def _protocol(record: Record) -> str:
    return (
        f"{record['protocol.name']}: n = {record['protocol.n']}, against {record['protocol.reference']}, features of "
        f"{record['protocol.extractor']}, {record['protocol.quantizer']}, {record['protocol.precision']}"
    )


def _columns(record: Record, prefixes: tuple[str, ...]) -> str:
    shown: dict[str, str] = {c: f"`{v}`" for c, v in record.items() if c.startswith(prefixes)}
    return _table("column", "value", shown) if shown else ""


def _table(first: str, second: str, lines: Mapping[str, str]) -> str:
    body = "\n".join(f"| {name} | {value} |" for name, value in lines.items())
    return f"| {first} | {second} |\n|---|---|\n{body}"
