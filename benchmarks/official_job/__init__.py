"""The parts of `benchmarks/official.py`: data and classifiers, official scripts, their answers."""
