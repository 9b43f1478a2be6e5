"""The plugin API: contracts for methods, trainers, data sets and metrics.

Recipes describe how weights are made, splits and label maps describe the evaluation data, and the
protocol fixes experimental choices. The registry finds plugins by name.
"""
