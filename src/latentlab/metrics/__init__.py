"""The yardsticks: the same numbers for every model, as plain functions of tensors.

- `features`: images → feature matrix, through any network; Inception from a checked local file
- `fid`, `kid`: distances between two feature sets (Fréchet; polynomial-kernel MMD)
- `prdc`: precision, recall, density, coverage from k-nearest-neighbour balls
- `reconstruction`: mse, sse, PSNR, SSIM of originals against reconstructions
- `inversion`: codes for a model without an encoder, by gradient descent under a fixed budget
- `probe`: multinomial logistic regression on frozen features
- `pca`: principal components as the baseline autoencoder; angles between subspaces

Nothing here touches disk (but the Inception weights), the environment or a global random state.
"""
