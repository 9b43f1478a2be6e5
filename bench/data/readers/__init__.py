"""Readers of images from class folders, lists, arrays, binary files, shards, videos and hubs.

Each reader returns a `Split` whose fingerprint is a hash of the content that was read.
"""
