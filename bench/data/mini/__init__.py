"""The embedded suite `mini`: rendered images with five shifts, and a tiny pretrained CLIP."""
