"""`python -m offline encode`: raw texts, images and sounds of items into `features/<name>.npy`."""
