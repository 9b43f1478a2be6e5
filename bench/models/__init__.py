"""CLIP models, linear heads, weights, image transforms and features; `training` tunes them."""
