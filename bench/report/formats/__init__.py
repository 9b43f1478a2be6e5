"""Output formats of a report: Markdown, LaTeX, CSV, JSON and the HTML page."""
