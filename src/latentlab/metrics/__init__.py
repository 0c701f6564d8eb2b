"""The metrics that every model gets: functions of tensors.

- `fid.features`: images → feature matrix (N, F), through any network
- `fid.inception`: the Inception network of FID, from a local file of weights
- `fid.frechet`: FID, the Fréchet distance of two feature sets
- `fid.spread`: the error of an FID by the choice of the real images; FID of infinitely many samples
- `intervals`: half widths of 95 % intervals
- `novelty`: are samples copies of training images?
- `kid`: squared maximum mean discrepancy with a polynomial kernel
- `prdc`: precision, recall, density and coverage
- `reconstruction`: MSE, squared error, PSNR and SSIM of reconstructions
- `inversion`: codes for a model without an encoder, by gradient descent
- `probe`: multinomial logistic regression on frozen features
- `pca`: principal components as the baseline autoencoder; angles between subspaces
- `contraction`: ratio by which an encoder shrinks a change of the image
- `embedding`: t-SNE

No function reads the environment or uses the global random state. Only `fid.inception` reads a
file.
"""
