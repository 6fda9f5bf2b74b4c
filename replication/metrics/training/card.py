"""The card of an embedded extractor: what it is, how it was trained, how well it does on images it never saw."""

from typing import Any

from replication.metrics.proportion import wilson
from replication.metrics.training.recipe import Recipe

CARD = """# {recipe.extractor}

{network}

| | |
|---|---|
| training data | `{recipe.dataset}`, training split, n = {n_train:,}, fingerprint `{training.fingerprint}` |
{details}
| length | {recipe.epochs} epochs of batch {recipe.batch}, seed {recipe.seed}, last weights kept (nothing was chosen on \
the test split) |
| test accuracy | {accuracy:.2f} % ({correct:,} of n = {n_test:,}), 95 % interval {low:.2f} to {high:.2f} % (Wilson) |
| test data | `{recipe.dataset}`, test split, fingerprint `{test.fingerprint}` |
| SHA-256 | `{sha256}` |

Regenerate with `python -m replication.metrics.training {recipe.extractor}`. Training is deterministic on one machine;
another processor or another torch may round differently and give another SHA-256, hence another extractor.
"""


def card(recipe: Recipe, parameters: int, training: Any, test: Any, correct: int, sha256: str) -> str:
    """Markdown: `training` and `test` are the splits of the recipe's dataset, `correct` of the latter were right."""
    n_test = len(test.labels)
    low, high = wilson(correct, n_test)
    return CARD.format(
        **{"recipe": recipe, "training": training, "test": test, "correct": correct, "sha256": sha256},
        network=recipe.network.format(parameters=parameters),
        n_train=len(training.labels),
        details="\n".join(f"| {name} | {text} |" for name, text in recipe.details.items()),
        **{"n_test": n_test, "accuracy": 100 * correct / n_test, "low": 100 * low, "high": 100 * high},
    )
