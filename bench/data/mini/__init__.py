"""The embedded suite `mini`: synthetic images with five shifts, and a tiny CLIP shipped with it."""
