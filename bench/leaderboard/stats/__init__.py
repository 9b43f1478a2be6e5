"""Statistics of leaderboards: variances, confidence intervals, paired tests, ranks."""
