"""Exact nearest neighbours: with FAISS, or by a bound in bfloat16 where that is faster.

Both end in one function that computes the distance from the vectors in float64, so that the search
which was used shows in no digit.
"""

from bench.posthoc.neighbors.kth import kth_distance

__all__ = ["kth_distance"]
