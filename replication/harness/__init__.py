"""The harness: an experiment file becomes cells, each cell becomes one row in the journal, and one run in MLflow."""
