"""Conditions: what a network is conditioned on besides the time, a class or a text."""
