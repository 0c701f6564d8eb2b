"""From image files to batches.

settings       the `data` section of params.yaml (`DataSettings`)
sources/       data sets: mnist_5k, digits, IDX files, CIFAR-10, a folder of images, tar shards
download       download of one public file: time-outs, retries, verification
decoding       many image files → one array, in several threads
preprocessing  any Pillow image → uint8 of one size and number of channels
shards/        tar shards: write them, their manifest, read one tar
splits         training, validation and test split, fixed by a seed
prepared       the folder data/prepared: written once, read by every stage
arrays         the .npy files of data/prepared, verified when they are opened
disk_array     an array of images in a file, read without a memory map
batch_sampler  the images of each batch: seeded, resumable inside an epoch
loaders        batches in this order, from memory or from disk
datamodule     the LightningDataModule of data/prepared
"""
