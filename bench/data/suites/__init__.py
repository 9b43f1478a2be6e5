"""Builders of suites: from real data sets, from YAML files, and corruptions of any suite."""
