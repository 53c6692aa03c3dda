"""Files of any kind to documents: found, recognised, cut into slices and read as blocks."""
