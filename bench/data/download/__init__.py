"""Download data sets: fetch, check and unpack archives, and build ImageNet's class folders."""
