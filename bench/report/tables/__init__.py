"""Tables of a report, as values and printed in a terminal."""
