"""For authors of plugins: the contract that every method and data set passes; fakes; copies."""
