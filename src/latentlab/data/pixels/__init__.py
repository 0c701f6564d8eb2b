"""From an image file to 8-bit pixels: frames, stored values, the white level, the background."""
