"""Readers of images: class folders, lists, arrays, binary files, archives, videos, hubs.

Each makes a `Split` whose fingerprint is a hash of what was read.
"""
