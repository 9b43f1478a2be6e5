"""What a run records besides values: the content of figures, trainings, and caveats."""
