"""Forensics: which choice of a protocol moves the distance, and by how much. One choice is changed at a time."""
