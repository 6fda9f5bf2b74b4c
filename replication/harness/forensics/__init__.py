"""Forensics: which choice of a protocol moves the distance, and by how much. One choice is changed at a time.

subject.py       what is examined: an experiment's cell, a checkpoint, or images from elsewhere -> the base
measurement.py   everything that one distance depends on
choices.py       what people do differently, and the thread or the code in which they did
treatment.py     what file formats and resizing do to images
laboratory.py    measurement -> features, from what is already there where possible
move.py          two measurements -> how far the distance moves, with an interval
examination.py   all of it: a base and its choices -> findings
"""
