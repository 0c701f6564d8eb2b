"""Use a trained model: encode, decode, sample, score, compress."""
