"""The files of own images: list a folder or an archive, and read splits, classes and groups."""
