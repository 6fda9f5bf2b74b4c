"""What a part of each kind must do, measured: the contract tests behind `replicate check`, and their oracles."""
