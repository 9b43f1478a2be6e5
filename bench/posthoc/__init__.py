"""Array in, array out: what is done to the outputs of trained models.

Pure functions (softmax, mixing, VRF's distances and weights, temperatures), neighbours, selection
rules, and the estimators `VRF`, `OSE` and `TemperatureScaling`. Nothing here knows of the harness.
"""
