"""The commands of `replicate`, one file for those that belong together; each file registers its own."""
