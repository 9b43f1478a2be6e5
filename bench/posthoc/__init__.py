"""Post-hoc methods on the outputs of trained models, as functions of arrays.

Pure functions (softmax, mixing, VRF's distances and weights, temperatures), nearest neighbours,
selection rules, and the estimators `VRF`, `OSE` and `TemperatureScaling`. Nothing here depends on
the harness.
"""
