"""Statistics of boards: variances, intervals, paired tests, ranks."""
