"""Layers that the papers' networks share; what differs between the papers is an argument, and the caller names it."""
