"""What a run is: its fields, their defaults, how they are read and checked."""
