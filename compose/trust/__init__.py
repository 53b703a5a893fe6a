"""The trust core: manifest, lock, evidence, verdict and release, from strangers' bytes and without torch."""
