"""Fixed datasets, identified by content: `DATASETS.build(name).load(split)`."""
