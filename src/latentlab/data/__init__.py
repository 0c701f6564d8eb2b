"""From image files to batches.

settings    what the user may choose (`DataSettings`)
sources/    where images come from: digits, IDX files, CIFAR-10, a folder of images
download    fetch a public archive: time-out, retries, verification
pixels      any Pillow image → uint8 of a stated size and channel count
splits      train, validation and test, fixed by a seed
prepared    the folder data/prepared: written whole, read back by every stage
loaders     seeded whole-batch loaders, from memory or from disk, resumable inside an epoch
module      the LightningDataModule over the prepared folder
"""
