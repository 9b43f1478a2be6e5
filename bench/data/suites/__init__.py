"""What suites are made of: suites of real data and of YAML files, corruptions of any suite."""
