"""The work of `replicate`'s commands, one function each, which takes the parsed arguments; parser.py declares those."""
