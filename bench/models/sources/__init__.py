"""Where models come from: their names, their configurations and how each source is loaded."""
