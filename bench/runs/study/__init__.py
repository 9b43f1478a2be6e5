"""What a run is asked for, resolved into studies: rows, suites, models, protocol."""
