"""Find input files of all formats, detect their encoding, cut them and read them as blocks."""
