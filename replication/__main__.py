"""`python -m replication`: the command line without its installed script."""

import sys

from replication.cli import entry

sys.exit(entry())
