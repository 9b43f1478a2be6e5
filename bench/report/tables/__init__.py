"""The tables of a report, as values and on a terminal."""
