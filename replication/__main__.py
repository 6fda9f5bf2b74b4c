"""`python -m replication`: the command line without its installed script."""

from replication.cli import entry

entry()
