"""Server, thinking side: arrays in, findings out."""
