"""How the shipped extractors are trained: `python -m replication.metrics.training NAME` writes weights and card."""
