"""For plugin authors: the contract suite for methods and data sets, fakes and synthetic copies."""
