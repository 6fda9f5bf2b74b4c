"""Reports: pure functions of (experiment, rows). The same rows give the same bytes."""
