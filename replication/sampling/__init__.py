"""Sample sets: images by seed and number, drawn in chunks that are kept on disk."""
