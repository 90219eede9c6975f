"""Torch modules of MMGRec (arXiv 2404.16555): Graph RQ-VAE, generator, beam decoder. No disk, Redis or HTTP."""
