"""The whole contract of plugins: what a method, a trainer, a data set or a metric is.

Recipes say how weights come to be, splits and label maps what they are evaluated on, the protocol
which choices were made; the registry finds plugins by name.
"""
