"""Getting data sets: fetching, unpacking, checksums, ImageNet's class folders."""
