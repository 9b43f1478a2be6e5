"""Commands on results that stand: report, check, compare."""
