"""What a run's report shows and how it is written. Nothing here imports torch."""
