"""Training: what fixes the weights of a network, and the loop that makes them."""
