"""One file per idea of what can be wrong with a meter or a plant."""
