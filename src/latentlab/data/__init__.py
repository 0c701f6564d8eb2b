"""From image files to batches.

settings    what the user may choose (`DataSettings`)
sources/    where images come from: digits, IDX files, CIFAR-10, a folder of images, tar shards
download    fetch a public archive: time-out, retries, verification
decode      many image files → rows, in a few threads
pack        a folder of images → tar shards             manifest  their names and checksums
tar         the samples of one shard
pixels      any Pillow image → uint8 of a stated size and channel count
splits      train, validation and test, fixed by a seed
prepared    the folder data/prepared: written whole, read back by every stage
arrays      its .npy files, verified when they are opened
rows        rows of a file, read without mapping it          limits   how much memory there is
order       which images make which batch: seeded, resumable inside an epoch
loaders     whole batches in that order, from memory or from disk
module      the LightningDataModule over the prepared folder
"""
