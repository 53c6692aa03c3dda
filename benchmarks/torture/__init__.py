"""Seeded faults in tiny training runs, whose ends must equal those of undisturbed ones."""
