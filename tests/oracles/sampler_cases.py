"""The samplers that every registry test visits: each registered one as it is by default, then the named variants."""

from typing import Any

import pytest

from replication.registry import SAMPLERS

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("ancestral", {"variance": "fixed-small"}),
    ("ddim", {"eta": 0.5}),
    ("euler", {"S_churn": 5.0}),
    ("heun", {"S_churn": 5.0}),
    ("dpmpp_2m_sde", {"eta": 0.5}),
    ("dpmpp_3m", {"weights": "exact"}),
    ("lms", {"order": 2}),
    ("lms", {"order": 3}),
    *[
        ("unipc", {"order": order, "variant": variant, "lower_order_final": "at-zero"})
        for order in (1, 2, 3)
        for variant in ("bh1", "bh2")
    ],
]
CASES = [*((name, {}) for name in SAMPLERS.names()), *VARIANTS]
every_sampler = pytest.mark.parametrize(
    ("name", "options"),
    CASES,
    ids=[f"{name}-{'-'.join(map(str, options.values()))}".strip("-") for name, options in CASES],
)
