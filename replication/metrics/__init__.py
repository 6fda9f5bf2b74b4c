"""Metrics: thin calls into torch-fidelity, feature extractors, and the uncertainty of each figure.

extractor = EXTRACTORS.build("digits-cnn")          # or cifar10-resnet, ...; extractor.ensure() fails early
reference = reference_features(split.images, extractor, folder, fingerprint=split.fingerprint)
row = evaluate(Material([extractor(images) for images in one_tensor_per_seed], reference)).columns
extractor.labels["fd"]                              # "FD-digits": how row["fd"] is printed
"""

from replication.metrics.extractor import Extractor
from replication.metrics.features import Features
from replication.metrics.metric import Material, Metric, evaluate
from replication.metrics.reference import reference_features

__all__ = ["Extractor", "Features", "Material", "Metric", "evaluate", "reference_features"]
