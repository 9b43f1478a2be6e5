"""How weights are tuned: the SGD loop, the losses, the trainers, Fisher information."""
