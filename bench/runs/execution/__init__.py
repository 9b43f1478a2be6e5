"""Carries plans out: here, or as jobs of workers."""
