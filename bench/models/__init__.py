"""CLIP models, linear heads and their weights, image transforms, features; `training`."""
