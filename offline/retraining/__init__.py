"""Retraining that runs by itself: the event archive, the snapshot that a run trains on, the gate, and their order."""
