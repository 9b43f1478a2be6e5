"""Training: the SGD loop, losses, trainers, networks and Fisher information."""
