"""Content and formats of the reports of runs. Nothing here imports torch."""
