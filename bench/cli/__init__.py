"""The command line: a module for each command, their options, the live display."""
