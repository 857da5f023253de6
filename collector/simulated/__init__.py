"""A factory that answers real frames: load shapes, meters, line faults by recipe."""
