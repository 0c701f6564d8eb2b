"""FID: features of images, the Inception network, and the Fréchet distance of feature sets."""
