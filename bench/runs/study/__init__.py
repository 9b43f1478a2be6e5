"""Resolution of a run's configuration into studies: suites, models, rows and protocol."""
