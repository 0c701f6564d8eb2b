"""Layers and networks in plain torch.

network: the choice of an encoder and a decoder in a config. mlp: fully connected. conv: strided
convolutions. tied: tied weights. upsampling: layers that double the sides. unet, diffusion_unet:
U-Nets. vit: vision transformer. stylegan: StyleGAN's generator. regularization: of discriminators.
batch_norm: the statistics of a discriminator outside of training.
"""
