"""Learned schedulers, their training, recipes and checkpoints."""
