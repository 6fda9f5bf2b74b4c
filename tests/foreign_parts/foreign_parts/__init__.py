"""Parts of each kind, as another package has them."""
