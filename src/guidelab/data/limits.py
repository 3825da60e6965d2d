"""Limits for readers of untrusted files: bytes, members, instructions and work.

A file is refused with one line as soon as it exceeds a budget, before memory is reserved for what it declares. Every
value lies far above the largest file that is published.
"""

GIB = 1 << 30

# Files as they lie on disk, bytes
WEIGHTS_BYTES = 16 * GIB  # the largest released file, a DiT with its optimiser, has some 10 GB
STATISTICS_BYTES = 8 * GIB  # .npz: ADM's hold 10,000 images as well
STATISTICS_PICKLE_BYTES = 1 << 28  # EDM2's hold 2048^2 and 1024^2 float64, 42 MB
DESCRIPTION_BYTES = 1 << 24  # a manifest or list of a bundle, a manifest of samples

# Pickles: EDM's and EDM2's files, statistics, the index of a file of torch.save
PICKLE_OPCODES = 300_000  # instructions; a released net has some ten thousand
PICKLE_SLOTS = 100_000  # objects a pickle may refer back to
PICKLE_STACK = 100_000  # values on the stack: the longest list is written in pieces of 1000
PICKLE_NESTING = 500  # containers within containers: hashing a deep tuple would exhaust the C stack
PICKLE_TUPLE = 4096  # values of a tuple, those of the tuples in it included, as often as they are repeated
PICKLE_KEYS = 1 << 13  # keys that are no text, of all dicts and sets: an optimiser numbers its tensors
PICKLE_WORK = 1 << 28  # bytes and values that calls may process, besides twice the file's size
PICKLE_INDEX_BYTES = 1 << 27  # of the index of a file of torch.save; its entry is read whole
SETTINGS = 4096  # values among the settings a network was constructed with
MODULES = 20_000  # of one network
MODULE_NESTING = 64
NET_LEVELS, NET_BLOCKS, NET_CHANNELS = (
    16,
    64,
    1 << 14,
)  # of a net that a file describes: what is built to compare with it

# Tensors and arrays
TENSORS = 50_000  # of one file
ELEMENTS = 1 << 31  # of one tensor; the largest released one has some 10^7
RANK = 8  # dimensions of one tensor
FEATURES = 1 << 12  # of published statistics: their covariance has the square of it
FEATURE_VALUE = 1e15  # of their means and covariances: those of networks are below 1e3
NPY_HEADER_BYTES = 10_000
LATENT_VALUES = 1 << 24  # of one latent: 64 MiB

# Archives
ZIP_ENTRIES = 50_000  # of weights and statistics
ZIP_RATIO = 100  # bytes unpacked for each byte of archive: pictures and weights hardly shrink
IMAGE_ENTRIES = 1 << 24  # of a dataset: ImageNet-21k has 14 million
IMAGE_BYTES = 3 << 26  # of one image, unpacked
LISTING_BYTES = 1 << 28  # of dataset.json: millions of lines
TAR_MEMBERS = 10_000  # of a bundle
TAR_EXTENSION_BYTES = 4096  # of one extended header: a long name, a size of 8 GB and more
CIFAR_BYTES = 1 << 28  # CIFAR-10 unpacked, half as much again as the archive has
CIFAR_MEMBERS = 64

# Pictures
PIXELS = 1 << 26  # 8192 x 8192: far above any image of a training set, 192 MiB as RGB
