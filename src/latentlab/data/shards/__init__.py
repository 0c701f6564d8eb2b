"""Image shards: write, describe and read tar files."""
