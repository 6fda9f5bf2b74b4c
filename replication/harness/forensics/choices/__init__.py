"""Every choice that `replicate forensics` knows; `--only` takes their names."""

from replication.harness.forensics.choices.measuring import MEASURING
from replication.harness.forensics.choices.sampling import SAMPLING

CHOICES = (*SAMPLING, *MEASURING)
