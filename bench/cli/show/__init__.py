"""``bench list`` and ``bench show``: the commands, and the catalogue that they print."""
