"""How the embedded extractors are trained: `python -m replication.metrics.training NAME` writes weights and card.

A file per extractor, one loop, one card. The training split of the extractor's dataset alone is seen; the test split
is read once, for the accuracy on the card. The new SHA-256 is printed and belongs in extractors/: a person pins it, so
that no run changes the yardstick silently.
"""
