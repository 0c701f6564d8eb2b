"""Networks in plain torch: mlp (fully connected), conv (strided pyramids)."""
