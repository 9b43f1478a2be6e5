"""Commands on results that stand: report, export, check, compare."""
