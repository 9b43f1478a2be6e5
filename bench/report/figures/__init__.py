"""Figures of a report as Vega-Lite specifications, SVG and PNG."""
