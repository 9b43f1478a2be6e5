"""The attacks of ``scripts/stress.py``; each returns how many trials held, and what did not."""
